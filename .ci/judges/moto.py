"""moto judges what it has: roles, policies, tables, log groups, parameters, functions and most of API Gateway v2.

It answers 404 to every call about deployments (of an API), so the API's deployment fails and its stage is skipped: nothing
else may.
"""

import json
import sys

from common import Emulator, equal, expect, nothing_left

with Emulator([sys.executable.rsplit("/", 1)[0] + "/moto_server", "-H", "127.0.0.1", "-p", "{port}"], {}, "/moto-api/") as cloud:
    report = cloud.xtask("deploy", "--stage", "dev", "--yes", "--output", "json", code=1)
    equal([step["id"] for step in report["failed"]], ["ChatDeployment"], "failed steps")
    equal([step["id"] for step in report["skipped"]], ["ChatStage"], "skipped steps")

    iam = cloud.client("iam")
    for role in cloud.inventory()["roles"]:
        document = iam.get_role_policy(RoleName=role, PolicyName="grants")["PolicyDocument"]
        for statement in document["Statement"]:
            actions, resources = statement["Action"], statement["Resource"]
            expect(not any("*" in action for action in actions), f"{role} has a wildcard action: {actions}")
            expect("*" not in resources, f"{role} reaches everything: {json.dumps(statement)}")
        trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        equal(trust["Statement"][0]["Principal"], {"Service": "lambda.amazonaws.com"}, f"who assumes {role}")
    table = cloud.client("dynamodb").describe_table(TableName="chat-dev-connections")["Table"]
    equal([index["IndexName"] for index in table["GlobalSecondaryIndexes"]], ["by-room"], "indexes")
    ttl = cloud.client("dynamodb").describe_time_to_live(TableName="chat-dev-connections")
    equal(ttl["TimeToLiveDescription"]["AttributeName"], "expiresAt", "time to live")
    functions = cloud.client("lambda")
    permissions = [
        statement
        for name in cloud.inventory()["functions"]
        # No service calls them: `broadcast` our own functions by their roles, `web` everybody by its URL.
        if not name.endswith(("-broadcast", "-web"))
        for statement in json.loads(functions.get_policy(FunctionName=name, Qualifier="live")["Policy"])["Statement"]
    ]
    equal(len(permissions), 10, "permissions: one per route, one for the authorizer")
    for statement in permissions:
        expect("ArnLike" in statement["Condition"], f"{statement['Sid']} names its source")
    page = functions.get_function_url_config(FunctionName="chat-dev-web", Qualifier="live")
    equal(page["AuthType"], "NONE", "who may ask for the page")
    parameter = cloud.client("ssm").get_parameter(Name="/chat/dev/TokenKey")["Parameter"]
    equal(parameter["Type"], "SecureString", "type of the key's parameter")

    cloud.xtask("destroy", "--stage", "dev", "--yes")
    nothing_left(cloud)
print("moto: everything that it has was deployed as declared, and destroyed without remains")
