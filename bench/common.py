"""What the programs of this folder share: running qplan, naming the machine, keeping
records. A record is one JSON file under bench/record/ with the commit, the CPU and the
date beside the figures, so that a later run is compared with its own kind only."""
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QPLAN = os.path.join(ROOT, "build", "release", "bin", "qplan")
SMOLLM2 = os.environ.get("QPLAN_SMOLLM2", os.path.join(ROOT, "out", "smollm2"))
PEERS = os.environ.get("QPLAN_PEERS", os.path.join(ROOT, "out", "peers"))
CALIBRATION = os.path.join(ROOT, "tests", "Inputs", "text", "wikitext2-valid.txt")
TEXT = os.path.join(ROOT, "tests", "Inputs", "text", "wikitext2-test.txt")


def cores():
    """The cores that this process may use: the thread count of both sides."""
    return len(os.sched_getaffinity(0))


def run(command, quiet=True):
    """stdout of `command`; where it fails, its stderr is shown and the run ends."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nstatus {done.returncode}\n{(done.stderr or '')[-2000:]}")
    return done.stdout


def run_json(command):
    """The JSON value that `command` prints on stdout."""
    output = run(command)
    try:
        return json.loads(output)
    except ValueError:
        sys.exit(f"{' '.join(map(str, command))}\nprinted no JSON: {output[:200]!r}")


def compile_plan(qplan, model, plan, arguments):
    """Compiles `model` into `plan` unless it was made by the same compiler with the same arguments."""
    stamp = plan + ".made"
    how = json.dumps([os.path.abspath(model), os.path.getmtime(qplan), arguments])
    if os.path.isdir(plan) and os.path.exists(stamp) and open(stamp).read() == how:
        return plan
    os.makedirs(os.path.dirname(plan), exist_ok=True)
    print(f"compiling {os.path.basename(plan)}", file=sys.stderr)
    run([qplan, "compile", model, "-o", plan, *arguments])
    with open(stamp, "w") as file:
        file.write(how)
    return plan


def score(options, plan, reference=None):
    """What `qplan eval` says of `plan`, beside a `reference`: of the text, windows and program in `options`."""
    return run_json([options.qplan, "eval", plan, "--text", options.text, "--windows", options.windows, "--json",
                     *(["--reference", reference] if reference else [])])


def cpu():
    """Model name, family and model number of the CPU: virtual machines give short names."""
    try:
        text = open("/proc/cpuinfo").read()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r"^([a-z ]+?)\s*:\s*(.*)$", text, re.M))
    name = fields.get("model name", platform.machine())
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return f"{name} ({', '.join(numbers)})" if numbers else name


def median(values):
    return statistics.median(values) if values else float("nan")


def write_record(name, figures):
    """Writes bench/record/NAME-DATE-COMMIT.json and returns its path."""
    now = datetime.datetime.now(datetime.timezone.utc)
    commit = run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]).strip()
    if run(["git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no"]).strip():
        commit += "+changes"
    record = {"commit": commit, "cpu": cpu(), "cores": cores(),
              "date": now.isoformat(timespec="seconds"), **figures}
    folder = os.path.join(ROOT, "bench", "record")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{name}-{now:%Y%m%d-%H%M%S}-{commit}.json")
    with open(path, "w") as file:
        json.dump(record, file, indent=1)
        file.write("\n")
    print(f"record: {os.path.relpath(path, ROOT)}")
    return path


def markdown(header, rows):
    """A Markdown table; numbers to the right."""
    lines = ["| " + " | ".join(header) + " |"]
    lines.append("| " + " | ".join(["---"] + ["---:"] * (len(header) - 1)) + " |")
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
