/* The usual case of `Tap.put`, which is on the way of every prediction.

   A Writer shares two numbers and the block's memory with the tap, which does everything else: what is not the usual
   case is passed on to `slow`, with the same arguments and the same result. The layout of a record is `spool.RECORD`'s.
   Built where there is a C compiler; without one the tap does it all, more slowly. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { PLACE, LAST, NUMBERS }; /* as in tap.py */
enum { AT, NAMES, REQUEST, ANSWER, SECONDS, METHOD, HOLDOUT, CALLER_ID, ARGUMENTS };
enum { FIXED = 38, LONGEST = 1 << 30 };

typedef struct {
    PyObject_HEAD
    Py_buffer numbers;
    Py_buffer memory; /* the block's; empty before the first one */
    PyObject *names;  /* dict[bytes, int]: those that the block has */
    PyObject *slow;
} Writer;

static inline uint8_t *field(uint8_t *at, const void *value, size_t size)
{
    memcpy(at, value, size);
    return at + size;
}

static PyObject *put(Writer *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != ARGUMENTS || !PyFloat_CheckExact(args[AT]) || !PyFloat_CheckExact(args[SECONDS]) ||
        !PyBytes_CheckExact(args[REQUEST]) || !PyBytes_CheckExact(args[ANSWER]) || !PyLong_CheckExact(args[METHOD]) ||
        !PyUnicode_Check(args[CALLER_ID]) || PyUnicode_GetLength(args[CALLER_ID]) != 0)
        goto slow;
    PyObject *known = PyDict_GetItemWithError(self->names, args[NAMES]);
    if (known == NULL) {
        if (PyErr_Occurred())
            return NULL;
        goto slow;
    }
    uint64_t *numbers = self->numbers.buf;
    size_t asked = (size_t)PyBytes_GET_SIZE(args[REQUEST]), answered = (size_t)PyBytes_GET_SIZE(args[ANSWER]);
    size_t room = (size_t)self->memory.len - numbers[PLACE];
    if (self->memory.buf == NULL || asked > LONGEST || answered > LONGEST || FIXED + asked + answered > room)
        goto slow;
    double at = PyFloat_AS_DOUBLE(args[AT]), seconds = PyFloat_AS_DOUBLE(args[SECONDS]);
    long number = PyLong_AsLong(known), method = PyLong_AsLong(args[METHOD]);
    if ((number == -1 || method == -1) && PyErr_Occurred())
        return NULL;
    uint64_t made = numbers[LAST] + 64;
    uint32_t sizes[2] = {(uint32_t)asked, (uint32_t)answered};
    uint16_t named = (uint16_t)number, called = 0;
    uint8_t kind[2] = {(uint8_t)method, args[HOLDOUT] == Py_True};
    uint8_t *end = (uint8_t *)self->memory.buf + numbers[PLACE];
    end = field(end, &made, 8);
    end = field(end, &at, 8);
    end = field(end, &seconds, 8);
    end = field(end, sizes, 8);
    end = field(end, &named, 2);
    end = field(end, kind, 2);
    end = field(end, &called, 2);
    end = field(end, PyBytes_AS_STRING(args[REQUEST]), asked);
    end = field(end, PyBytes_AS_STRING(args[ANSWER]), answered);
    numbers[PLACE] = (uint64_t)(end - (uint8_t *)self->memory.buf);
    numbers[LAST] = made;
    /* The block's HEAD: the watcher must not see it before what lies before it. */
    __atomic_store_n((uint64_t *)self->memory.buf, numbers[PLACE], __ATOMIC_RELEASE);
    char digits[20], *first = digits + sizeof digits;
    for (uint64_t rest = made; rest != 0; rest /= 10)
        *--first = (char)('0' + rest % 10);
    return PyBytes_FromStringAndSize(first, digits + sizeof digits - first);
slow:
    return PyObject_Vectorcall(self->slow, args, (size_t)count, NULL);
}

static PyObject *leave(Writer *self, PyObject *Py_UNUSED(none))
{
    PyBuffer_Release(&self->memory);
    Py_RETURN_NONE;
}

static PyObject *enter(Writer *self, PyObject *block)
{
    PyBuffer_Release(&self->memory);
    if (PyObject_GetBuffer(block, &self->memory, PyBUF_WRITABLE) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(keywords))
{
    Py_buffer numbers;
    PyObject *names, *slow;
    if (!PyArg_ParseTuple(args, "w*O!O", &numbers, &PyDict_Type, &names, &slow))
        return NULL;
    Writer *self = numbers.len >= NUMBERS * 8 ? (Writer *)type->tp_alloc(type, 0) : NULL;
    if (self == NULL) {
        PyBuffer_Release(&numbers);
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "numbers must be %d", NUMBERS);
        return NULL;
    }
    self->numbers = numbers;
    self->names = Py_NewRef(names);
    self->slow = Py_NewRef(slow);
    return (PyObject *)self;
}

static int traverse(Writer *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->names);
    Py_VISIT(self->slow);
    return 0;
}

static int clear(Writer *self)
{
    Py_CLEAR(self->slow); /* the cycle goes through the tap; `names` may still be asked for */
    return 0;
}

static void dealloc(Writer *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyBuffer_Release(&self->memory);
    PyBuffer_Release(&self->numbers);
    Py_CLEAR(self->names);
    Py_CLEAR(self->slow);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"put", (PyCFunction)(void (*)(void))put, METH_FASTCALL, "As Tap.put, by position."},
    {"enter", (PyCFunction)enter, METH_O, "Goes on in the memory of another block, at its place."},
    {"leave", (PyCFunction)leave, METH_NOARGS, "Lets go of the block's memory."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, make},           {Py_tp_traverse, traverse}, {Py_tp_clear, clear},
    {Py_tp_dealloc, dealloc},    {Py_tp_methods, methods},
    {Py_tp_doc, "Writer(numbers, names, slow)"},     {0, NULL},
};

static PyType_Spec spec = {
    "portico.prediction._tap.Writer", sizeof(Writer), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots,
};

static int execute(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    int failed = type == NULL || PyModule_AddObjectRef(module, "Writer", type) < 0;
    Py_XDECREF(type);
    return -failed;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT, .m_name = "_tap", .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__tap(void)
{
    return PyModuleDef_Init(&definition);
}
