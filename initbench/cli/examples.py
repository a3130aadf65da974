"""The text below the options in each command's help: examples, exit codes, the `--json` document."""

EXAMPLES = {
    "": (
        "initbench compare",
        "initbench inspect -s xavier -s kaiming",
        "initbench report --open",
    ),
    "run": (
        "initbench run -s kaiming",
        "initbench run -s 'conv=orthogonal; head=zeros' -m cnn --seeds 5",
    ),
    "compare": (
        "initbench compare",
        "initbench compare -s kaiming -s xavier --lr tune",
        "initbench compare experiments/article.toml --dry-run",
        "initbench compare -s kaiming,xavier -d mnist -m lenet --epochs 3 --seeds 6",
        "initbench compare --fail-if 'kaiming.test_accuracy < 0.9'",
    ),
    "inspect": (
        "initbench inspect -s xavier -m 'mlp(depth=30, width=128)'",
        "initbench inspect -m 'mlp(depth=2..100)'",
        "initbench inspect -m my_model.py:build --input 3x32x32",
    ),
    "check": (
        "initbench check kaiming_uniform",
        "initbench check 'conv=orthogonal; bias=constant(0.1)' --json",
    ),
    "report": (
        "initbench report --open",
        "initbench report results/demo --json",
    ),
    "export": (
        "initbench export --to latex",
        "initbench export results/demo --to csv --output demo.csv",
        "initbench export --to tensorboard",
    ),
    "list": (
        "initbench list schemes",
        "initbench list schemes kaiming_normal",
        "initbench list experiments",
    ),
    "data list": ("initbench data list --data-dir ~/data",),
    "data fetch": ("initbench data fetch mnist",),
    "new experiment": (
        "initbench new experiment depth",
        "initbench compare experiments/depth.toml --dry-run",
    ),
    "new schema": ("initbench new schema", "initbench new schema --folder my_recipes"),
    "doctor": ("initbench doctor --data-dir ~/data",),
}
EXIT_CODES = """\
Exit codes:
  0    success
  1    internal error (please report)
  2    usage error
  3    some trials failed
  4    configuration or data error
  5    a --fail-if condition holds
  130  interrupted
  141  output closed early (as by | head)"""
JSON = """\
With --json, stdout is one document (schema 1) with the keys name, folder,
report, question, answer (sentences), baseline, target, targets (the accuracy
to reach by dataset), missing, notes, claims, best (which schemes may be),
summary (rows of summary.csv) and verdicts (rows of verdicts.csv). Later
releases may add keys but remove none."""
MORE = {"": (EXIT_CODES,), "run": (JSON,), "compare": (JSON, EXIT_CODES), "report": (JSON,)}


def epilog(command: str) -> str:
    """Return the text for a command; a leading backspace keeps a paragraph from being rewrapped."""
    lines = "\n".join(f"  {line}" for line in EXAMPLES[command])
    return "\n\n".join(f"\b\n{text}" for text in (f"Examples:\n{lines}", *MORE.get(command, ())))
