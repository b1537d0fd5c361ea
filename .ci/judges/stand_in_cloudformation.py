"""A stand-in for CloudFormation and S3 in front of the local cloud, for what no emulator does: imports and releases of
stacks. It believes templates and touches no resource, so whatever changes in the account was changed by the command line."""

import html
import http.server
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

import yaml

STACK = "arn:aws:cloudformation:us-east-1:000000000000:stack/{name}/1"


class StandIn(http.server.ThreadingHTTPServer):
    """Answers CloudFormation and S3; hands everything else on to `upstream`."""

    daemon_threads = True

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream, self.cannot_import = upstream, set()
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        self.objects, self.stacks, self.change_sets, self.imported = {}, {}, {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def template(self, asked):
        if "TemplateBody" in asked:
            return asked["TemplateBody"]
        return self.objects[urllib.parse.urlparse(asked["TemplateURL"]).path]

    def act(self, action, asked):
        name = asked.get("StackName", "").split("/")[1] if "/" in asked.get("StackName", "") else asked.get("StackName", "")
        stack = self.stacks.get(name)
        match action:
            case "DescribeStacks" if stack is None or stack["status"] == "DELETE_COMPLETE":
                raise KeyError(f"Stack with id {name} does not exist")
            case "DescribeStacks":
                return members("Stacks", [describe(name, stack)])
            case "GetTemplateSummary":
                types = {entry["Type"] for entry in yaml.safe_load(self.template(asked))["Resources"].values()}
                return members("ResourceIdentifierSummaries", [identifiers(kind) for kind in sorted(types - self.cannot_import)])
            case "CreateChangeSet":
                template = self.template(asked)
                if asked["ChangeSetType"] != "UPDATE":
                    stack = self.stacks[name] = {"status": "REVIEW_IN_PROGRESS", "template": "", "events": [], "tags": asked}
                wanted = yaml.safe_load(template)["Resources"]
                if asked["ChangeSetType"] == "IMPORT":
                    keys = [key for key in asked if re.fullmatch(r"ResourcesToImport\.member\.\d+\.LogicalResourceId", key)]
                    assert sorted(asked[key] for key in keys) == sorted(wanted), "everything is imported"
                    assert "Outputs" not in yaml.safe_load(template), "an import brings no outputs"
                    changes = [("Import", key, entry) for key, entry in wanted.items()]
                else:
                    before = yaml.safe_load(stack["template"])["Resources"]
                    assert before.keys() == wanted.keys(), "nothing is made anew"
                    changes = [("Modify", key, entry) for key, entry in wanted.items() if entry != before[key]]
                self.change_sets[asked["ChangeSetName"]] = (name, template, asked, changes)
                return f"<Id>{asked['ChangeSetName']}</Id><StackId>{STACK.format(name=name)}</StackId>"
            case "DescribeChangeSet":
                _, _, _, changes = self.change_sets[asked["ChangeSetName"]]
                return "<Status>CREATE_COMPLETE</Status>" + members("Changes", [describe_change(*change) for change in changes])
            case "ExecuteChangeSet":
                name, template, tags, changes = self.change_sets.pop(asked["ChangeSetName"])
                stack = self.stacks[name]
                verb = tags["ChangeSetType"]
                for _, key, entry in changes:
                    event(stack, name, key, entry["Type"], f"{verb}_IN_PROGRESS")
                    event(stack, name, key, entry["Type"], f"{verb}_COMPLETE")
                if verb == "IMPORT":
                    self.imported = [key for _, key, _ in changes]
                stack.update(template=template, status=f"{verb}_COMPLETE", tags=tags)
                event(stack, name, name, "AWS::CloudFormation::Stack", stack["status"])
                return ""
            case "DeleteChangeSet":
                self.change_sets.pop(asked["ChangeSetName"], None)
                return ""
            case "DeleteStack":
                entries = yaml.safe_load(stack["template"] or "{}").get("Resources", {})
                assert all(entry["DeletionPolicy"] == "Retain" for entry in entries.values()), "everything is retained"
                for key, entry in entries.items():
                    event(stack, name, key, entry["Type"], "DELETE_SKIPPED")
                stack["status"] = "DELETE_COMPLETE"
                event(stack, name, name, "AWS::CloudFormation::Stack", "DELETE_COMPLETE")
                return ""
            case "DescribeStackEvents":
                return members("StackEvents", reversed(stack["events"]))
            case "GetTemplate":
                return f"<TemplateBody>{html.escape(stack['template'])}</TemplateBody>"
            case "ListStackResources":
                entries = yaml.safe_load(stack["template"] or "{}").get("Resources", {}).items()
                return members(
                    "StackResourceSummaries",
                    [
                        f"<LogicalResourceId>{key}</LogicalResourceId><ResourceType>{entry['Type']}</ResourceType>"
                        "<ResourceStatus>IMPORT_COMPLETE</ResourceStatus>"
                        for key, entry in entries
                    ],
                )
        raise AssertionError(f"nobody asked for {action} before")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        scope = self.headers.get("authorization", "")
        if "/s3/" in scope:
            return self.s3(body)
        if "/cloudformation/" not in scope:
            return self.forward(body)
        asked = dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        action = asked["Action"]
        try:
            content = self.server.act(action, asked)
            self.answer(200, f"<{action}Response><{action}Result>{content}</{action}Result></{action}Response>".encode())
        except KeyError as error:
            text = f"<Code>ValidationError</Code><Message>{error.args[0]}</Message>"
            self.answer(400, f"<ErrorResponse><Error>{text}</Error></ErrorResponse>".encode())

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

    def s3(self, body):
        objects = self.server.objects
        if self.command == "PUT":
            objects[self.path] = body.decode(errors="replace")
            return self.answer(200, b"")
        found = objects.get(self.path)
        self.answer(404 if found is None else 200, b"" if self.command == "HEAD" else (found or "").encode())

    def forward(self, body):
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("connection", "content-length")}
        request = urllib.request.Request(self.server.upstream + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request) as answer:
                self.answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            self.answer(error.code, error.read(), error.headers)

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for key in headers:
            if key.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                self.send_header(key, headers[key])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def members(name, items):
    return f"<{name}>{''.join(f'<member>{item}</member>' for item in items)}</{name}>"


def describe(name, stack):
    tags = [
        f"<Key>{stack['tags'][f'Tags.member.{at}.Key']}</Key><Value>{stack['tags'][f'Tags.member.{at}.Value']}</Value>"
        for at in (1, 2)
    ]
    return (
        f"<StackId>{STACK.format(name=name)}</StackId><StackName>{name}</StackName><StackStatus>{stack['status']}</StackStatus>"
        f"<CreationTime>2026-11-01T00:00:00Z</CreationTime>{members('Tags', tags)}"
    )


def describe_change(action, name, entry):
    replacement = "<Replacement>False</Replacement>" if action == "Modify" else ""
    return (
        f"<Type>Resource</Type><ResourceChange><Action>{action}</Action><LogicalResourceId>{name}</LogicalResourceId>"
        f"<ResourceType>{entry['Type']}</ResourceType>{replacement}</ResourceChange>"
    )


def event(stack, name, resource, kind, status, reason=""):
    physical = STACK.format(name=name) if resource == name else "physical"
    stack["events"].append(
        f"<EventId>{len(stack['events'])}</EventId><StackId>{STACK.format(name=name)}</StackId><StackName>{name}</StackName>"
        f"<LogicalResourceId>{resource}</LogicalResourceId><PhysicalResourceId>{physical}</PhysicalResourceId>"
        f"<ResourceType>{kind}</ResourceType><Timestamp>2026-11-01T00:00:00Z</Timestamp><ResourceStatus>{status}</ResourceStatus>"
        f"<ResourceStatusReason>{reason}</ResourceStatusReason>"
    )


# Primary identifiers in CloudFormation's schemas.
IDENTIFIERS = {
    "AWS::ApiGatewayV2::Api": ["ApiId"],
    "AWS::ApiGatewayV2::Authorizer": ["AuthorizerId", "ApiId"],
    "AWS::ApiGatewayV2::Deployment": ["ApiId", "DeploymentId"],
    "AWS::ApiGatewayV2::Integration": ["ApiId", "IntegrationId"],
    "AWS::ApiGatewayV2::Route": ["ApiId", "RouteId"],
    "AWS::ApiGatewayV2::RouteResponse": ["ApiId", "RouteId", "RouteResponseId"],
    "AWS::ApiGatewayV2::Stage": ["ApiId", "StageName"],
    "AWS::CloudWatch::Alarm": ["AlarmName"],
    "AWS::CloudWatch::Dashboard": ["DashboardName"],
    "AWS::DynamoDB::Table": ["TableName"],
    "AWS::IAM::Role": ["RoleName"],
    "AWS::IAM::RolePolicy": ["PolicyName", "RoleName"],
    "AWS::Lambda::Alias": ["AliasArn"],
    "AWS::Lambda::Function": ["FunctionName"],
    "AWS::Lambda::Permission": ["FunctionName", "Id"],
    "AWS::Lambda::Url": ["FunctionArn"],
    "AWS::Lambda::Version": ["FunctionArn"],
    "AWS::Logs::LogGroup": ["LogGroupName"],
}


def identifiers(kind):
    return f"<ResourceType>{kind}</ResourceType>" + members("ResourceIdentifiers", IDENTIFIERS[kind])
