# needs: huggingface_hub==2.4.0 codecarbon==3.3.2 jsonschema==4.26.0 cyclonedx-python-lib[json-validation]==11.12.0 pyarrow==25.0.1 pybtex==0.26.1 pylatexenc==2.11
"""The formats' own Python tools accept what `ergometer export` writes, and find in it what the logs hold.

huggingface_hub reads cards of many styles before and after, CodeCarbon checks its file's header and adds to it, the schemas of
BoAmps and CycloneDX are held against the documents, Arrow reads the tables, and parsers of LaTeX and BibTeX the sentences. What
is damaged on purpose is refused by each that checks.
"""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

# This file is called as others may be, and would be taken for one of them.
sys.path.pop(0)

import pyarrow.parquet
import pybtex.database
import pybtex.errors
import referencing
import yaml
from codecarbon.output_methods.emissions_data import EmissionsData
from codecarbon.output_methods.file import FileOutput
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from jsonschema import Draft4Validator
from pybtex.style.formatting.plain import Style
from pylatexenc.latex2text import LatexNodes2Text, MacroTextSpec, get_default_latex_context_db
from pylatexenc.latexwalker import LatexWalker

RUNS = sorted(path.parent for path in Path(os.environ["RUNS"]).rglob("run.json"))
SCRATCH = Path(os.environ["SCRATCH"])
SCHEMAS = Path(__file__).resolve().parent.parent / "data" / "boamps"
FRANCE = ["--country", "FR", "--pue", "1.2"]
INTENSITY = 41.44


def export(*arguments, fails=False):
    done = subprocess.run(
        [os.environ["ERGOMETER"], "export", *map(str, arguments)], capture_output=True, text=True
    )
    assert (done.returncode != 0) == fails, (arguments, done.stderr)
    return done.stderr if fails else done.stdout


def end(run):
    """The last line of a run's log that is its end."""
    lines = (json.loads(line) for path in run.glob("rank-*.jsonl") for line in path.open())
    return [line for line in lines if line["kind"] == "end"][-1]


def raises(kinds, do, *arguments):
    try:
        do(*arguments)
    except kinds:
        return True
    return False


def near(found, expected):
    assert abs(found - expected) <= 1e-9 * abs(expected), (found, expected)


def whole(runs):
    """The runs that have an end."""
    return [run for run in runs if json.loads((run / "run.json").read_text())["state"] == "complete"]


STYLES = [
    "",
    "# A model\n",
    "---\nlicense: mit\n---\n# A model\n",
    "---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n# A model\r\n",
    "---\nco2_eq_emissions: 12\n---\n",
    "---\nco2_eq_emissions: {emissions: 1, source: 'x, y', training_type: 'z: 1'} # by hand\n---\n",
    "---\nco2_eq_emissions:\n  emissions: 1 # g\n  training_type: fine-tuning\nwidget:\n- text: 'it''s'\n---\n",
    "---\n# first\nmodel-index:\n- name: a\n  results:\n  - task: {type: x, name: \"it's\"}\n    dataset: {type: y, name: z}\n    metrics:\n    - {type: acc, value: 0.5}\n---\n",
    "\n\n---\nlicense: mit\n---\n\n---\nco2_eq_emissions: 1\n---\n",
    "# Title\n\n```yaml\n---\nco2_eq_emissions: 1\n---\n```\n",
    "---\nco2_eq_emissions: {}\n---",
    "---\n'co2_eq_emissions' :\n  {emissions: 3,\n   source: x}\nz: 1\n---  \n",
    "---\nbase: &b {scope: 2}\nco2_eq_emissions:\n  <<: *b\n  emissions: 1\n  # theirs\n  by: [a, b] # and\n---\n",
    "---\nold: &o 1\nco2_eq_emissions: *o\nlast: |+\n  kept\n\n---\nb: 2\n---\n",
    "---\na: 1\r\nb: 2\n---\r\nc\rd\n",
    "---\nemoji: \U0001f680\nname: \u6a21\u578b\n---\n\U0001f680\n",
    "---\ntext: |\n  co2_eq_emissions: 1\n  --- no\nfolded: >-\n    a 'b\n    [c\nplain: it's\n  \"on\" and on\n---\n",
]

# Cards that are not understood for certain, or by some readers and not by others.
REFUSED = [
    b"---\nco2_eq_emissions: 1\nco2_eq_emissions: 2\n---\n", b"---\nco2_eq_emissions:\n\temissions: 3\n---\n",
    b"---\nco2_eq_emissions: &a 1\nb: *a\n---\n", b"---\na: 1\n&k co2_eq_emissions: 1\n---\n",
    b'---\n"co2\\u005feq_emissions": 1\n---\n', b"---\rlicense: mit\r---\n", b"---\nlicense: mit\n",
    "---\na: x\u2028co2_eq_emissions: 1\n---\n".encode(), "---\nname: é\n---\n".encode("latin-1"),
    "\ufeff---\na: 1\n---\n".encode("utf-16"),
]

# Pieces that a card may be made of, most of them traps for who reads lines.
PIECES = [
    "license: mit\n", "tags:\n- a\n- 'b: c'\n", "tags: [a, 'it''s', \"]\"]\n", "d: {x: 1, y: [2, 3]}\n", "# note: \"\n",
    "\n", "q: 'two\n  lines'\n", 'q2: "with \\" and\n\n  # no comment"\n', "b: |\n  key: 'x\n\n   deeper [\n", "f: >\n  a\n  b\n",
    "p: it's\n  'tis so # end\n", "n:\n  m:\n    - o: 1\n      p: 'x'\n    - q\n", "e:\n", "u: http://x#y\n",
    "flow: [1,\n  {a: 'b'},\n]\n", "k : v\n", "'quoted key': 1\n", "t: 12:30\n", "s: -no list\n",
    "co2_eq_emissions:\n  emissions: 3\n  note: \"a\n    b\"\n", "co2_eq_emissions: 'x'\n", "co2_eq_emissions: {emissions: 1, note: it's}\n",
    "co2_eq_emissions:\n    source: |\n      old\n    # kept\n    note: 1\n", "after: x\n",
    "co2_eq_emissions:\n  emissions: 1\n  training_type: >\n    fine\n    tuning\n", "co2_eq_emissions: {}\n",
]


def cards():
    yield from STYLES
    chance = random.Random(1)
    for _ in range(150):
        pieces = chance.sample(PIECES, chance.randint(1, 7))
        entries = [piece for piece in pieces if piece.startswith("co2")]
        pieces = [piece for piece in pieces if piece not in entries[1:]]
        yield "---\n" + "".join(pieces) + "---\n" + chance.choice(["", "body\n---\n", "\n# Title"])


def metadata(path):
    """What the Hub reads of a card, the emissions apart."""
    data = metadata_load(path) or {}
    return data, data.pop("co2_eq_emissions", None)


def body(card):
    """What follows the metadata, as the Hub finds it."""
    found = REGEX_YAML_BLOCK.search(card)
    return card[found.end():] if found else card


def check_cards(run):
    energy = end(run)["energy_j"] / 3.6e6 * 1.2
    path = SCRATCH / "README.md"
    written = refused = 0
    for card in cards():
        path.write_bytes(card.encode())
        data, before = metadata(path)
        done = subprocess.run(
            [os.environ["ERGOMETER"], "export", "--format", "model-card", run, *FRANCE, "-o", path],
            capture_output=True, text=True,
        )
        after = path.read_bytes().decode()
        if done.returncode != 0:
            assert after == card and f"`{path}`, line " in done.stderr, (card, done.stderr)
            refused += 1
            continue
        written += 1
        loaded = ModelCard.load(path).data.co2_eq_emissions
        # Two digits of what is often an estimate.
        assert abs(loaded["emissions"] / (energy * INTENSITY) - 1) < 0.06, (loaded, energy)
        assert loaded["geographical_location"] == "France" and loaded["hardware_used"], loaded
        kept, now = metadata(path)
        assert kept == data, (card, after)
        assert body(after) == body(card), (card, after)
        if isinstance(before, dict):
            ours = {"emissions", "source", "geographical_location", "hardware_used"}
            theirs = {key: value for key, value in before.items() if key not in ours}
            assert theirs.items() <= now.items(), (card, after)
    assert refused <= written // 20, (written, refused)
    for card in REFUSED:
        path.write_bytes(card)
        told = export("--format", "model-card", run, *FRANCE, "-o", path, fails=True)
        assert f"`{path}`" in told and path.read_bytes() == card, (card, told)
    # A card that is broken is noticed.
    path.unlink()
    export("--format", "model-card", run, *FRANCE, "-o", path)
    whole_card = path.read_text()
    for old, new in (('  source: "', "  source: "), ("emissions:\n", "emissions: \n\t"), ("  emissions:", " emissions:")):
        assert old in whole_card
        path.write_text(whole_card.replace(old, new, 1))
        assert raises((ValueError, yaml.YAMLError), ModelCard.load, path), f"{old!r} may be {new!r}"
    print(f"   huggingface_hub: {written} cards as before but for the emissions, {refused + len(REFUSED)} refused")


def check_codecarbon(runs):
    path = SCRATCH / "emissions.csv"
    # The second half is added to the file of the first.
    for some in (runs[: len(runs) // 2], runs[len(runs) // 2 :]):
        if some:
            export("--format", "codecarbon", *some, *FRANCE, "-o", path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run_id"] for row in rows] == [run.name for run in runs]
    assert list(rows[0]) == list(EmissionsData.__dataclass_fields__), "the columns' order"
    for run, row in zip(runs, rows):
        energy = end(run)["energy_j"] / 3.6e6 * 1.2
        near(float(row["energy_consumed"]), energy)
        near(float(row["emissions"]), energy * INTENSITY / 1e3)
        assert row["water_consumed"] == row["codecarbon_version"] == "", row
    # CodeCarbon itself takes the file for its own: it adds a row or replaces one, and makes no backup.
    output = FileOutput(path.name, str(SCRATCH))
    fields = {name: 1 for name in EmissionsData.__dataclass_fields__}
    assert output.has_valid_headers(EmissionsData(**fields))
    output.out(EmissionsData(**fields | {"run_id": "its own"}), None)
    before = path.read_text()
    export("--format", "codecarbon", *runs, *FRANCE, "-o", path)
    assert path.read_text() == before, "runs were written twice"
    update = FileOutput(path.name, str(SCRATCH), on_csv_write="update")
    update.out(EmissionsData(**fields | {"run_id": runs[0].name}), None)
    with path.open(newline="") as file:
        found = [row["run_id"] for row in csv.DictReader(file)]
    assert found == [run.name for run in runs[1:]] + ["its own", runs[0].name], found
    # After it has gone through CodeCarbon's hands, it is still a file to add to.
    export("--format", "codecarbon", *runs, *FRANCE, "-o", path)
    assert not list(SCRATCH.glob("emissions.csv?*"))
    # One without a column is not its own any more, and nothing is added.
    damaged = path.read_text().replace(",pue,wue", ",pue", 1)
    path.write_text(damaged)
    assert not output.has_valid_headers(EmissionsData(**fields))
    told = export("--format", "codecarbon", *runs, *FRANCE, "-o", path, fails=True)
    assert "not the columns of CodeCarbon 3.3.2" in told and path.read_text() == damaged, told
    print(f"   codecarbon: {len(rows)} runs under a header of its own, in two goes")


def check_boamps(runs):
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    resources = [
        (schema["id"], referencing.jsonschema.DRAFT4.create_resource(schema))
        for schema in schemas.values()
    ]
    registry = referencing.Registry().with_resources(resources)
    validator = Draft4Validator(schemas["report_schema.json"], registry=registry)
    template = SCRATCH / "template.json"
    task = {"taskFamily": "classification", "dataset": [{"dataUsage": "input", "dataType": "image"}]}
    template.write_text(json.dumps({"task": task, "infrastructure": {"infraType": "onPremise"}}))
    for run in runs:
        report = json.loads(export("--format", "boamps", run, *FRANCE, "--template", template))
        validator.validate(report)
        near(report["measures"][0]["powerConsumption"], end(run)["energy_j"] / 3.6e6)
    for place, value in (
        (("measures", 0, "measurementMethod"), None),
        (("measures", 0, "powerConsumption"), "1 kWh"),
        (("infrastructure", "infraType"), "cloud"),
        (("task", "dataset", 0, "dataType"), "pictures"),
        (("task", "algorithms"), []),
    ):
        damaged = json.loads(json.dumps(report))
        *way, last = place
        inner = damaged
        for key in way:
            inner = inner[key]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
        assert not validator.is_valid(damaged), f"{place} may be {value!r}"
    assert "taskFamily" in export("--format", "boamps", runs[0], fails=True)
    print(f"   BoAmps: {len(runs)} reports")


def check_cyclonedx(runs):
    for name, version in (("1.6", SchemaVersion.V1_6), ("1.7", SchemaVersion.V1_7)):
        for place in ([], FRANCE):
            text = export("--format", "cyclonedx", "--spec", name, *runs, *place)
            fault = JsonStrictValidator(version).validate_str(text)
            assert fault is None, fault
        bill = json.loads(text)
        assert len(bill["components"]) == len(runs)
        for component, run in zip(bill["components"], runs):
            considered = component["modelCard"]["considerations"]["environmentalConsiderations"]
            (spent,) = considered["energyConsumptions"]
            energy = end(run)["energy_j"] / 3.6e6 * 1.2
            near(spent["activityEnergyCost"]["value"], energy)
            near(spent["co2CostEquivalent"]["value"], energy * INTENSITY / 1e6)
        for old, new in (
            ('"kWh"', '"J"'), ('"tCO2eq"', '"gCO2eq"'), ('"energyProvided"', '"energy"'), ('"training"', '"sport"'),
            ('"machine-learning-model"', '"model"'), ('"activityEnergyCost"', '"cost"'), ('"specVersion"', '"spec"'),
        ):
            assert old in text
            damaged = text.replace(old, new)
            assert JsonStrictValidator(version).validate_str(damaged) is not None, f"{old} may be {new}"
    print(f"   CycloneDX: bills of {len(runs)} models, 1.6 and 1.7")


def with_metrics(lines):
    """Lines of a run, its epochs with what was measured in their phases and after them, its end with what was measured last."""
    within, epochs, last = defaultdict(dict), {}, {}
    for line in lines:
        place = line["session"], line.get("lane")
        metrics = line.get("metrics", {})
        if line["kind"] == "phase":
            within[*place, line.get("parent")] |= within.pop((*place, line["id"]), {}) | metrics
        elif line["kind"] == "epoch":
            line["metrics"] = within.pop((*place, line["id"]), {}) | metrics
            epochs[line["epoch"]] = line
        elif line["kind"] == "event" and line.get("epoch") in epochs:
            epochs[line["epoch"]].setdefault("metrics", {}).update(metrics)
    for line in lines:
        if line["kind"] == "epoch":
            last |= line["metrics"]
    for line in lines:
        if line["kind"] == "end":
            line["metrics"] = last | line.get("metrics", {})
    return lines


def check_tables(runs):
    for rows, kinds in (("epochs", {"epoch"}), ("all", {"step", "epoch", "phase", "end"})):
        parquet, plain = SCRATCH / "t.parquet", SCRATCH / "t.csv"
        export("--format", "parquet", "--rows", rows, *runs, "-o", parquet)
        export("--format", "csv", "--rows", rows, *runs, "-o", plain)
        table = pyarrow.parquet.read_table(parquet)
        with plain.open(newline="") as file:
            reader = csv.reader(file)
            assert next(reader) == table.column_names
            lines = list(reader)
        logged = {}
        for run in runs:
            lines_of_run = [
                json.loads(line) for path in sorted(run.glob("rank-*.jsonl")) for line in path.open()
            ]
            for line in with_metrics(lines_of_run):
                if line["kind"] in kinds:
                    logged[line["run_id"], line["kind"], line["session"], line["lane"], line["id"]] = line
        found = table.to_pylist()
        assert len(found) == len(lines) == len(logged), (len(found), len(lines), len(logged))
        for row, text in zip(found, lines):
            line = logged[row["run_id"], row["kind"], row["session"], row["lane"], row["id"]]
            for name in ("energy_j", "u_j", "total_j", "duration_s", "quality", "epoch", "step", "samples", "t_end_ns"):
                assert row[name] == line.get(name), (name, row[name], line)
            for domain, share in line["domains"].items():
                assert row[f"domains.{domain}.energy_j"] == share["energy_j"]
            told = {name[8:] for name, value in row.items() if name.startswith("metrics.") and value is not None}
            assert told == set(line.get("metrics", {})), (told, line)
            for metric, value in line.get("metrics", {}).items():
                found_value = row[f"metrics.{metric}"]
                if value is None:
                    assert found_value != found_value, "what is no number is NaN"
                else:
                    near(found_value, value)
            for name, cell in zip(table.column_names, text):
                value = row[name]
                if value is None or cell == "":
                    assert value is None and cell == "", (name, value, cell)
                elif isinstance(value, bool):
                    assert cell == str(value).lower()
                elif isinstance(value, (int, float)):
                    assert type(value)(cell) == value or value != value, (name, value, cell)
                else:
                    assert cell == value, (name, value, cell)
        print(f"   Arrow and csv: {len(found)} rows of {rows}")


HOSTILE = r"50% of_a & b #1 $x$ ~y ^z \input{passwd} {q} --- ''c'' <d>|e` \x"


def check_sentences(runs):
    """Sentences are LaTeX that says what the Markdown does, and what they cite are entries that BibTeX knows."""
    hostile = SCRATCH / "hostile"
    shutil.copytree(runs[0], hostile)
    manifest = json.loads((hostile / "run.json").read_text())
    manifest["name"] = HOSTILE
    (hostile / "run.json").write_text(json.dumps(manifest))
    texts = [export("--format", "sentence", "--latex", *some, *FRANCE) for some in (runs, [hostile])]
    pybtex.errors.set_strict_mode(True)
    cited = set()
    for text in texts:
        said, comments = text.split("\n% For the bibliography, without the `% `:\n")
        LatexWalker(said, tolerant_parsing=False).get_latex_nodes()
        entries = "".join(line.removeprefix("% ") + "\n" for line in comments.splitlines())
        works = pybtex.database.parse_string(entries, "bibtex")
        asked = {key for group in said.split("\\cite{")[1:] for key in group.split("}")[0].split(",")}
        assert set(works.entries) == asked, (set(works.entries), asked)
        formatted = list(Style().format_entries(works.entries.values()))
        assert len(formatted) == len(asked)
        for entry in formatted:
            assert entry.text.render_as("text"), entry.key
        cited |= asked
        # An entry without its last brace is none.
        broken = entries.rstrip().removesuffix("}")
        assert raises(pybtex.database.PybtexError, pybtex.database.parse_string, broken, "bibtex")
    # Signs of LaTeX's own that this reader does not know, or by another letter.
    signs = {"less": "<", "greater": ">", "bar": "|", "asciicircum": "^"}
    known = get_default_latex_context_db()
    macros = [MacroTextSpec(f"text{name}", sign) for name, sign in signs.items()]
    known.add_context_category("signs", macros=macros, prepend=True)
    said = LatexNodes2Text(latex_context=known).latex_to_text(texts[1].split("\n%")[0])
    assert HOSTILE in said, said
    assert raises(Exception, LatexWalker(r"{a", tolerant_parsing=False).get_latex_nodes)
    print(f"   LaTeX and BibTeX: {len(cited)} works cited")


runs = whole(RUNS)
assert runs, "no run to look at"
check_cards(runs[0])
check_codecarbon(runs)
check_boamps(runs)
check_cyclonedx(runs)
check_tables(runs)
check_sentences(runs)
