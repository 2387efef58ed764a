#!/usr/bin/env python3
"""Writes expected.json: what jinja2 makes of the templates in this folder.

Needs the jinja2 package. The environment is the one of the transformers library.
"""
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

HERE = pathlib.Path(__file__).parent


class Generation(jinja2.ext.Extension):
    """{% generation %} marks the assistant's text for training; it changes nothing."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def to_json(value, indent=None):
    return json.dumps(value, ensure_ascii=False, indent=indent)


def message(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = [
    [message("user", "Hi there")],
    [message("system", " Be nice. "), message("user", "  Hello\n"),
     message("assistant", "<think>\nhm\n</think>\n\nHey"), message("user", '日本 "x"')],
    [message("user", "a"), message("assistant", "b"), message("user", "c"),
     message("assistant", "d")],
    [message("user", "a"), message("user", "b")],
]


def main():
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.globals["raise_exception"] = raise_exception
    environment.filters["tojson"] = to_json
    cases = []
    for path in sorted(HERE.glob("*.jinja")):
        template = environment.from_string(path.read_text(encoding="utf-8"))
        for messages in CONVERSATIONS:
            for prompt in (True, False):
                case = {"template": path.name, "messages": messages, "generation_prompt": prompt}
                try:
                    case["expected"] = template.render(
                        messages=messages, add_generation_prompt=prompt, bos_token="<s>",
                        eos_token="</s>", tools=None, documents=None)
                except jinja2.exceptions.TemplateError as error:
                    case["refused"] = str(error)
                cases.append(case)
    text = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "expected.json").write_text("[\n" + text + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
