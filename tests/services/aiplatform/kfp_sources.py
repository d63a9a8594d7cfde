"""Pipelines for the tests, as their authors write them: kfp compiles them in an environment of its own."""

CONSTRUCTS = r"""
@dsl.component
def add(a: int, b: int = 3) -> int:
    return a + b

@dsl.component
def say(text: str) -> str:
    return text

@dsl.component
def third(x: float) -> float:
    return x / 3

@dsl.component
def flip(x: bool) -> bool:
    return not x

@dsl.component
def join(texts: List[str]) -> str:
    return "+".join(texts)

@dsl.component
def total(numbers: list) -> int:
    def flat(some):
        return sum(map(flat, some)) if isinstance(some, list) else some
    return flat(numbers)

@dsl.component
def fail(text: str = "") -> str:
    print("about to fail")
    raise ValueError("it had to come " + text)

@dsl.component
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["length"] = len(text)

@dsl.component
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read() + str(data.metadata["length"])

@dsl.component
def read_all(some: Input[List[Dataset]]) -> str:
    return ",".join(open(one.path).read() for one in some)

@dsl.component
def told(status: PipelineTaskFinalStatus, note: str = "") -> str:
    return f"{status.state} {status.pipeline_task_name} {status.error_message} {note}"

@dsl.pipeline(name="a-chain")
def chain(x: int = 1) -> int:
    first = add(a=x)
    return add(a=first.output, b=10).output

@dsl.pipeline
def branches(x: int = 1, word: str = "yes") -> str:
    n = add(a=x, b=0)
    with dsl.If(n.output == 1):
        one = say(text="one")
    with dsl.Elif(n.output == 2):
        two = say(text="two")
    with dsl.Else():
        with dsl.If(word == "it's \"so\""):
            say(text="quoted").set_display_name("quoted")
        other = say(text="other")
    chosen = dsl.OneOf(one.output, two.output, other.output)
    return say(text=chosen).output

@dsl.pipeline
def operators(i: int = 1, f: float = 0.5, s: str = "a", b: bool = True):
    n, x, t, y = add(a=i, b=0), third(x=f), say(text=s), flip(x=b)
    with dsl.If(n.output == 1): say(text="1").set_display_name("i-eq")
    with dsl.If(n.output != 1): say(text="1").set_display_name("i-ne")
    with dsl.If(n.output < 2): say(text="1").set_display_name("i-lt")
    with dsl.If(n.output <= 1): say(text="1").set_display_name("i-le")
    with dsl.If(n.output > 1): say(text="1").set_display_name("i-gt")
    with dsl.If(n.output >= 2): say(text="1").set_display_name("i-ge")
    with dsl.If(x.output > 0.4): say(text="1").set_display_name("f-gt")
    with dsl.If(t.output == "a"): say(text="1").set_display_name("s-eq")
    with dsl.If(t.output != s): say(text="1").set_display_name("s-ne")
    with dsl.If(y.output == True): say(text="1").set_display_name("b-eq")
    with dsl.If(f >= i): say(text="1").set_display_name("f-ge-i")

@dsl.pipeline
def loops(
    items: List[Dict[str, int]] = [{"a": 1}, {"a": 2}, {"a": 3}], words: list = ["x", "y"], empty: list = []
) -> str:
    with dsl.ParallelFor(items, parallelism=2) as item:
        n = add(a=item.a, b=10)
        with dsl.ParallelFor(["p", "q"]) as letter:
            inner = say(text=f"{letter}{n.output}")
            number = add(a=n.output, b=0)
    total(numbers=dsl.Collected(n.output)).set_display_name("flat")
    total(numbers=dsl.Collected(number.output)).set_display_name("nested")
    with dsl.ParallelFor(words) as word:
        s = say(text=word)
        made = write(text=word)
    read_all(some=dsl.Collected(made.outputs["data"]))
    with dsl.ParallelFor(empty) as nothing:
        say(text=nothing)
    return join(texts=dsl.Collected(s.output)).output

@dsl.pipeline
def several(words: list) -> List[Dataset]:
    with dsl.ParallelFor(words) as word:
        made = write(text=word)
    return dsl.Collected(made.outputs["data"])

@dsl.pipeline
def over_artifacts():
    made = several(words=["a", "bb"])
    with dsl.ParallelFor(made.output) as one:
        got = read(data=one)
    join(texts=dsl.Collected(got.output))

@dsl.pipeline
def inside(x: int) -> NamedTuple("Outputs", [("sum", int), ("data", Dataset)]):
    n = add(a=x, b=1)
    d = write(text="inner")
    Outputs = NamedTuple("Outputs", [("sum", int), ("data", Dataset)])
    return Outputs(n.output, d.outputs["data"])

@dsl.pipeline
def nested(x: int = 1) -> int:
    n = inside(x=x)
    read(data=n.outputs["data"])
    return add(a=n.outputs["sum"]).output

@dsl.pipeline
def leaving(word: str = "bad"):
    last = told(note=f"of {dsl.PIPELINE_JOB_NAME_PLACEHOLDER}")
    with dsl.ExitHandler(last):
        say(text="first")
        with dsl.If(word == "bad"):
            fail(text=word)

@dsl.pipeline
def regardless():
    bad = fail()
    say(text=bad.output).set_display_name("never")
    after = add(a=1).after(bad)
    join(texts=["a"]).after(bad).ignore_upstream_failure()

@dsl.pipeline
def two_ways():
    bad = fail()
    first = say(text="1")
    second = say(text=first.output)

@dsl.component
def flaky(bucket: str) -> str:
    import json, os, urllib.request
    url = os.environ["STORAGE_EMULATOR_HOST"]
    shown = {"authorization": "Bearer " + os.environ["PORTICO_JOB_TOKEN"]}
    listing = urllib.request.Request(f"{url}/storage/v1/b/{bucket}/o?prefix=tried", headers=shown)
    with urllib.request.urlopen(listing) as answer:
        tried = len(json.load(answer).get("items", []))
    mark = f"{url}/upload/storage/v1/b/{bucket}/o?uploadType=media&name=tried{tried}"
    urllib.request.urlopen(urllib.request.Request(mark, b"x", shown, method="POST")).close()
    if tried < 2:
        raise ValueError("not yet")
    return f"at attempt {tried + 1}"

@dsl.pipeline
def again(bucket: str):
    flaky(bucket=bucket).set_retry(2, backoff_duration="0s", backoff_factor=2, backoff_max_duration="1s")

@dsl.component
def environment() -> str:
    import os
    return os.environ["WORD"]

@dsl.container_component
def shell(text: str, out: dsl.OutputPath(str), opt: str = None, data: Output[Dataset] = None):
    return dsl.ContainerSpec(
        image="python:3.11",
        command=["sh", "-c", 'mkdir -p "$(dirname "$0")" && printf "%s|" "$@" > "$0"', out],
        args=[
            dsl.ConcatPlaceholder(["a-", text]),
            dsl.IfPresentPlaceholder("opt", then=["--opt", opt], else_=["none"]),
            data.uri,
        ],
    )

@dsl.pipeline
def texts(sly: str = "{{$.inputs.parameters['opt']}}"):
    environment().set_env_variable("WORD", "set").set_cpu_limit("1").set_memory_limit("1G")
    shell(text="x'y")
    shell(text=sly, opt="given")
    say(text=f"{dsl.PIPELINE_JOB_NAME_PLACEHOLDER}|{dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER}|{dsl.PIPELINE_JOB_ID_PLACEHOLDER}|"
             f"{dsl.PIPELINE_TASK_NAME_PLACEHOLDER}|{dsl.PIPELINE_TASK_ID_PLACEHOLDER}|{dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER}|"
             f"{dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER}|{dsl.PIPELINE_ROOT_PLACEHOLDER}").set_display_name("placeholders")

@dsl.component
def kinds(i: int, f: float, s: str, b: bool, l: list, d: dict, o: Optional[str] = None) -> NamedTuple(
        "Kinds", [("i", int), ("f", float), ("s", str), ("b", bool), ("l", list), ("d", dict)]):
    assert o is None and type(l[0]) is int and type(d["k"][0]) is int and type(f) is float
    return (i, f, s, b, l, d)

@dsl.component
def measured(
    metrics: Output[Metrics], classes: Output[ClassificationMetrics], page: Output[HTML], note: Output[Markdown],
    model: Output[Model], any_: Output[Artifact],
):
    metrics.log_metric("accuracy", 0.75)
    classes.log_confusion_matrix(["a", "b"], [[3, 1], [0, 4]])
    for one in (page, note, model, any_):
        open(one.path, "w").write("text")

@dsl.pipeline
def types(i: int = 1, f: float = 2.5, s: str = "s", b: bool = True, l: list = [1, "a"], d: dict = {"k": [1]}):
    kinds(i=i, f=f, s=s, b=b, l=l, d=d)
    measured()

@dsl.component
def nothing_written(data: Output[Dataset]) -> str:
    pass

@dsl.container_component
def wrong_type(out: dsl.OutputPath(int)):
    command = 'mkdir -p "$(dirname "$0")"; echo seven > "$0"'
    return dsl.ContainerSpec(image="python:3.11", command=["sh", "-c", command, out])

@dsl.component
def takes(value: str):
    print(value)

@dsl.pipeline
def lacking(which: str = "a"):
    with dsl.If(which == "a"):
        takes(value=nothing_written().outputs["Output"])
    with dsl.Elif(which == "alone"):
        nothing_written()
    with dsl.Else():
        wrong_type()

@dsl.pipeline
def imported(uri: str, note: str = "x", anew: bool = False):
    made = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False, metadata={"length": 4, "note": note})
    read(data=made.output)
    dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=True, metadata={"length": 4, "note": note})

@dsl.component
def wait():
    import time
    print("waits", flush=True)
    time.sleep(600)

@dsl.pipeline
def slow():
    say(text="quick")
    last = wait()
    say(text="after").after(last)

@dsl.pipeline
def given(data: Input[Dataset]) -> str:
    return read(data=data).output
"""

# What all versions of kfp know.
OLDEST = r"""
@dsl.component
def add(a: int, b: int = 3) -> int:
    return a + b

@dsl.component
def total(numbers: List[int]) -> int:
    return sum(numbers)

@dsl.component
def told(status: PipelineTaskFinalStatus) -> str:
    return status.state

@dsl.pipeline
def simple(x: int = 1) -> int:
    first = add(a=x)
    return add(a=first.output).output

@dsl.pipeline
def conditional(x: int = 1):
    with dsl.ExitHandler(told()):
        first = add(a=x)
        with dsl.Condition(first.output == 4):
            add(a=1)

@dsl.pipeline
def looping():
    with dsl.ParallelFor([1, 2], parallelism=1) as item:
        add(a=item).set_retry(1).set_memory_limit("1G")
"""

LARGE = r"""
@dsl.component
def add(a: int, b: int = 3) -> int:
    return a + b

@dsl.pipeline
def limited():
    with dsl.ParallelFor(list(range(10)), parallelism=3) as item:
        add(a=item)

@dsl.pipeline
def wide(items: List[int] = list(range(120))):
    with dsl.ParallelFor(items) as item:
        add(a=item)
"""
