"""cfn-lint judges the template of every stage and of 200 random stacks, and parliament every policy of a stage and the
deployer's: no finding at all, not even a hint. Made twice, templates are the same."""

import json
import multiprocessing
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import yaml
from cfnlint.config import ConfigMixIn
from cfnlint.runner import Runner

warnings.filterwarnings("ignore", category=UserWarning, message="pkg_resources is deprecated")
from parliament import analyze_policy_string, enhance_finding  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::URLSuffix": "amazonaws.com",
}
NAMES = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
}
ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:us-east-1:123456789012:table/{}",
    "AWS::Lambda::Function": "arn:aws:lambda:us-east-1:123456789012:function:{}",
}


# All rules, also the informational and the experimental ones, and without leniency for types.
RULES = ["--include-experimental", "--include-checks", "I", "W", "E", "--configure-rule", "E3012:strict=true"]


def main():
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as again:
        for written in (folder, again):
            subprocess.run(["cargo", "run", "-q", "-p", "infra", "--example", "templates", "--", written], cwd=ROOT, check=True)
        templates = sorted(path for path in pathlib.Path(folder).iterdir() if path.is_file())
        random = sorted(pathlib.Path(folder, "random").iterdir())
        if len({path.read_bytes() for path in random}) != 200:
            sys.exit(f"JUDGE: {len(random)} random stacks, some of them the same")
        for path in templates + random:
            if path.read_bytes() != pathlib.Path(again, path.relative_to(folder)).read_bytes():
                sys.exit(f"JUDGE: {path.name} is another one when it is made again")
        stages = sorted(path.stem for path in (ROOT / "infra/stages").glob("*.yml"))
        if sorted({path.stem for path in templates}) != stages:
            sys.exit(f"JUDGE: templates {templates} for stages {stages}")
        for path in templates:
            if path.suffix == ".yaml" and yaml.safe_load(path.read_text()) != json.loads(path.with_suffix(".json").read_text()):
                sys.exit(f"JUDGE: {path.name} does not say in YAML 1.1 what the JSON template says")
        # Each worker begins with what reading the rules and the first template has left in memory.
        found = lint(templates[0])
        with multiprocessing.get_context("fork").Pool(os.cpu_count()) as workers:
            linted = workers.imap_unordered(lint, (templates + random)[1:])
            found += [finding for findings in linted for finding in findings]
        if found:
            sys.exit("\n".join(["JUDGE: cfn-lint has findings", *found]))
        policies = [
            (f"{path.stem}/{name}", policy)
            for path in templates
            if path.suffix == ".json"
            for name, policy in policies_of(json.loads(path.read_text())["Resources"])
        ]
    findings = [f"{name}: {finding}" for name, policy in policies for finding in audit(policy)]
    # Without the community's auditors: who deploys manages permissions, which is what they warn of.
    deployer = analyze_policy_string((ROOT / "docs/deployer-policy.json").read_text())
    findings += [f"deployer-policy.json: {finding.issue}: {finding.detail}" for finding in deployer.findings]
    if findings:
        sys.exit("\n".join(["JUDGE: parliament has findings", *findings]))
    print(f"cfn-lint and parliament: no finding in {len(templates)} templates, {len(random)} random ones and {len(policies)} policies")


def lint(template):
    config = ConfigMixIn([*RULES, "--template", str(template)])
    return [f"{template.name}: {finding}" for finding in Runner(config).run()]


def policies_of(resources):
    for name, resource in resources.items():
        if resource["Type"] == "AWS::IAM::RolePolicy":
            yield name, resolve(resource["Properties"]["PolicyDocument"], resources)


def audit(policy):
    analyzed = analyze_policy_string(json.dumps(policy), include_community_auditors=True)
    return [f"{finding.title}: {finding.detail} {finding.location}" for finding in map(enhance_finding, analyzed.findings)]


def resolve(value, resources):
    """Replaces Ref, Fn::GetAtt and Fn::Sub: parliament reads plain policies."""
    if isinstance(value, list):
        return [resolve(item, resources) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": name}:
            return reference(name, resources)
        case {"Fn::GetAtt": [name, "Arn"]}:
            return arn(name, resources)
        case {"Fn::Sub": pattern}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: substitute(found[1], resources), pattern)
    return {key: resolve(entry, resources) for key, entry in value.items()}


def substitute(name, resources):
    return arn(name.removesuffix(".Arn"), resources) if name.endswith(".Arn") else reference(name, resources)


def reference(name, resources):
    if name in PSEUDO:
        return PSEUDO[name]
    resource = resources[name]
    # What has no name of its own has an id like those of API Gateway.
    return resource["Properties"][NAMES[resource["Type"]]] if resource["Type"] in NAMES else "a1b2c3d4e5"


def arn(name, resources):
    return ARNS[resources[name]["Type"]].format(reference(name, resources))


main()
