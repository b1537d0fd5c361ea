//! STS: who is calling. Every access key is welcome; keys that were issued to functions are known by their role.

use crate::cloud::{Account, SharedCloud};
use crate::query::{Form, answer, element, unknown_action};
use crate::wire::{Request, Response};

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Answers one awsQuery call.
pub(crate) async fn handle(cloud: &SharedCloud, request: Request) -> Response {
    let form = Form::read(&request);
    match form.get("Action").unwrap_or_default() {
        action @ "GetCallerIdentity" => answer(NAMESPACE, action, &caller_identity(cloud, &request)),
        other => unknown_action("sts", other).query_xml(NAMESPACE),
    }
}

fn caller_identity(cloud: &SharedCloud, request: &Request) -> String {
    let account = &cloud.account.id;
    let session = request.access_key.as_deref().and_then(|key| cloud.iam.session(key));
    let (arn, user_id) = session.map_or_else(
        || {
            (
                format!("arn:{}:iam::{account}:root", Account::PARTITION),
                account.clone(),
            )
        },
        |session| (session.assumed_role_arn(), session.user_id()),
    );
    [
        element("Arn", &arn),
        element("UserId", &user_id),
        element("Account", account),
    ]
    .concat()
}
