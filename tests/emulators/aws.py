"""What the manual's commands need of the AWS CLI, on botocore: `aws SERVICE OPERATION --flag value… [--query …] [--output …]`."""

import json
import sys

import boto3
import jmespath
from botocore import xform_name


def value_of(shape, words):
    word = " ".join(words)
    if word.startswith("file://"):
        with open(word.removeprefix("file://"), encoding="utf-8") as file:
            word = file.read()
    match shape.type_name:
        case "list":
            return words
        case "integer":
            return int(word)
        case "boolean":
            return True
        case "structure" | "map":
            return json.loads(word)
        case _:
            return word


def as_text(found):
    if isinstance(found, list):
        return "\t".join(as_text(one) for one in found)
    return "None" if found is None else str(found)


def main():
    service, operation, *words = sys.argv[1:]
    flags = {}
    for word in words:
        if word.startswith("--"):
            name = word.removeprefix("--")
            flags[name] = []
        else:
            flags[name].append(word)
    query, output = flags.pop("query", None), flags.pop("output", ["json"])[0]
    client = boto3.client({"s3api": "s3"}.get(service, service))
    method = operation.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    members = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
    arguments = {members[flag][0]: value_of(members[flag][1], given) for flag, given in flags.items()}
    if client.can_paginate(method):
        answer = client.get_paginator(method).paginate(**arguments).build_full_result()
    else:
        answer = getattr(client, method)(**arguments)
        answer.pop("ResponseMetadata", None)
    if query:
        answer = jmespath.search(query[0], answer)
    elif not answer:
        return
    print(as_text(answer) if output == "text" else json.dumps(answer, indent=4, default=str))


main()
