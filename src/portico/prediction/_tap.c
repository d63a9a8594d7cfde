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
    /* What each record needs, close together: much of the cost of one is the cache lines that it touches. */
    uint64_t *numbers;
    uint8_t *begin; /* of the block's memory; NULL before the first one */
    size_t size;
    PyObject *last; /* the names of the record before, or NULL */
    uint16_t number; /* theirs */
    Py_buffer numbers_held, memory_held;
    PyObject *names; /* dict[bytes, int]: those that the block has */
    PyObject *slow;
} Writer;

static inline uint8_t *field(uint8_t *at, const void *value, size_t size)
{
    memcpy(at, value, size);
    return at + size;
}

/* Whether the names are known; `last` and `number` are theirs then. */
static bool find(Writer *self, PyObject *names)
{
    PyObject *known = PyDict_GetItemWithError(self->names, names);
    long number = known == NULL ? -1 : PyLong_AsLong(known);
    if (number < 0 || number > UINT16_MAX)
        return false;
    Py_XSETREF(self->last, Py_NewRef(names));
    self->number = (uint16_t)number;
    return true;
}

static PyObject *put(Writer *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != ARGUMENTS || !PyFloat_CheckExact(args[AT]) || !PyFloat_CheckExact(args[SECONDS]) ||
        !PyBytes_CheckExact(args[REQUEST]) || !PyBytes_CheckExact(args[ANSWER]) || !PyLong_CheckExact(args[METHOD]) ||
        !PyUnicode_CheckExact(args[CALLER_ID]) || PyUnicode_GET_LENGTH(args[CALLER_ID]) != 0)
        goto slow;
    if (args[NAMES] != self->last && !find(self, args[NAMES])) {
        if (PyErr_Occurred())
            return NULL;
        goto slow;
    }
    uint64_t *numbers = self->numbers;
    size_t asked = (size_t)PyBytes_GET_SIZE(args[REQUEST]), answered = (size_t)PyBytes_GET_SIZE(args[ANSWER]);
    if (self->begin == NULL || asked > LONGEST || answered > LONGEST ||
        FIXED + asked + answered > self->size - numbers[PLACE])
        goto slow;
    double at = PyFloat_AS_DOUBLE(args[AT]), seconds = PyFloat_AS_DOUBLE(args[SECONDS]);
    long method = PyLong_AsLong(args[METHOD]);
    if (method == -1 && PyErr_Occurred())
        return NULL;
    uint64_t made = numbers[LAST] + 64;
    uint32_t sizes[2] = {(uint32_t)asked, (uint32_t)answered};
    uint16_t called = 0;
    uint8_t kind[2] = {(uint8_t)method, args[HOLDOUT] == Py_True};
    uint8_t *end = self->begin + numbers[PLACE];
    end = field(end, &made, 8);
    end = field(end, &at, 8);
    end = field(end, &seconds, 8);
    end = field(end, sizes, 8);
    end = field(end, &self->number, 2);
    end = field(end, kind, 2);
    end = field(end, &called, 2);
    end = field(end, PyBytes_AS_STRING(args[REQUEST]), asked);
    end = field(end, PyBytes_AS_STRING(args[ANSWER]), answered);
    numbers[PLACE] = (uint64_t)(end - self->begin);
    numbers[LAST] = made;
    /* The next record's memory, which may well be as long, is fetched while other work goes on. */
    for (size_t ahead = 64; ahead <= 512; ahead += 64)
        __builtin_prefetch(end + ahead, 1);
    /* The block's HEAD: the watcher must not see it before what lies before it. */
    __atomic_store_n((uint64_t *)self->begin, numbers[PLACE], __ATOMIC_RELEASE);
    char digits[20], *first = digits + sizeof digits;
    for (uint64_t rest = made; rest != 0; rest /= 10)
        *--first = (char)('0' + rest % 10);
    return PyBytes_FromStringAndSize(first, digits + sizeof digits - first);
slow:
    return PyObject_Vectorcall(self->slow, args, (size_t)count, NULL);
}

static PyObject *leave(Writer *self, PyObject *Py_UNUSED(none))
{
    self->begin = NULL;
    Py_CLEAR(self->last);
    PyBuffer_Release(&self->memory_held);
    Py_RETURN_NONE;
}

static PyObject *enter(Writer *self, PyObject *block)
{
    Py_DECREF(leave(self, NULL));
    if (PyObject_GetBuffer(block, &self->memory_held, PyBUF_WRITABLE) < 0)
        return NULL;
    self->begin = self->memory_held.buf;
    self->size = (size_t)self->memory_held.len;
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
    self->numbers_held = numbers;
    self->numbers = numbers.buf;
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
    PyBuffer_Release(&self->memory_held);
    PyBuffer_Release(&self->numbers_held);
    Py_CLEAR(self->last);
    Py_CLEAR(self->names);
    Py_CLEAR(self->slow);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"put", (PyCFunction)(void (*)(void))put, METH_FASTCALL, "As Tap.put, by position."},
    {"enter", (PyCFunction)enter, METH_O, "Goes on in this memory, at the place that the numbers say; looks up names again."},
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
