//! Who calls, what they may do, and what the account is set to.

use infra_aws::{Allowed, Session, deployer_policy};
use infra_cdk::Kind;
use infra_engine::CloudError;

use super::{Finding, State};
use crate::failure::Failure;
use crate::target::Target;

/// Below so many, a busy minute of a chat is throttled. New accounts may have 10.
const CONCURRENCY_MIN: i32 = 100;
/// "Concurrent executions" of Lambda in Service Quotas.
const CONCURRENCY_QUOTA: &str = "L-B99A9384";

/// Looks. Without credentials that is left out, unless a profile was asked for.
pub(super) async fn look(target: &Target, has_profile: bool) -> Vec<Finding> {
    let session = match target.session().await {
        Ok(session) => session,
        Err(failure) => {
            let state = if failure.has_no_credentials() && !has_profile {
                State::Skipped
            } else {
                State::Missing
            };
            return vec![not_looked_at(state, &failure)];
        }
    };
    let context = session.context();
    let place = match session.endpoint_url() {
        Some(endpoint) => format!("at {endpoint}"),
        None => format!("in {}", context.region),
    };
    let mut findings = vec![Finding::good(
        "identity",
        format!("{}, account {} {place}", session.caller(), context.account),
    )];
    let (permissions, log_role, concurrency) = futures_util::future::join3(
        permissions(target, &session),
        log_role(target, &session),
        concurrency(&session),
    )
    .await;
    findings.extend([permissions, log_role, concurrency]);
    findings
}

fn not_looked_at(state: State, failure: &Failure) -> Finding {
    let mut finding = Finding::failed("account", state, failure);
    if state == State::Skipped {
        finding.found = format!("only this machine was looked at: {}", finding.found);
    }
    finding
}

/// Says that something could not be asked for: a smaller permission, or an endpoint that is not AWS.
fn unanswered(about: &'static str, error: &CloudError) -> Finding {
    let found = format!("could not be asked: {error}");
    let mend = format!("allow {} for these credentials, to know", error.operation);
    Finding::of(about, State::Skipped, found, mend)
}

async fn permissions(target: &Target, session: &Session) -> Finding {
    let policy = deployer_policy(&[&target.graph], session.context());
    match infra_aws::allowed(session, &policy).await {
        Ok(Allowed::Owner) => Finding::good("permissions", "the owner of the account may do everything"),
        Ok(Allowed::AllBut(denied)) if denied.is_empty() => {
            Finding::good("permissions", "all that this stage needs, as IAM simulates it")
        }
        Ok(Allowed::AllBut(denied)) => Finding::of(
            "permissions",
            State::Missing,
            format!("not allowed: {}", denied.join("; ")),
            format!(
                "give this policy to these credentials: {} > policy.json",
                target.scope().command("policy")
            ),
        ),
        Err(error) => unanswered("permissions", &error),
    }
}

async fn log_role(target: &Target, session: &Session) -> Finding {
    let is_declared = target
        .graph
        .resources()
        .values()
        .any(|resource| resource.kind == Kind::Account);
    match infra_aws::api_gateway_log_role(session).await {
        Ok(Some(role)) => Finding::good("API logs", format!("API Gateway writes logs by {role}")),
        Ok(None) if is_declared => Finding::good(
            "API logs",
            "API Gateway has no role for logs yet; a deployment makes it",
        ),
        Ok(None) => Finding::good(
            "API logs",
            "API Gateway has no role for logs, and this stage has no access log",
        ),
        Err(error) => unanswered("API logs", &error),
    }
}

async fn concurrency(session: &Session) -> Finding {
    match infra_aws::concurrency(session).await {
        Ok(found) if found.limit >= CONCURRENCY_MIN => Finding::good(
            "concurrency",
            format!(
                "{} invocations at once, {} of them for functions that reserve none",
                found.limit, found.unreserved
            ),
        ),
        Ok(found) => Finding::of(
            "concurrency",
            State::Doubtful,
            format!("only {} invocations at once", found.limit),
            format!(
                "aws service-quotas request-service-quota-increase --service-code lambda --quota-code {CONCURRENCY_QUOTA} --desired-value 1000"
            ),
        ),
        Err(error) => unanswered("concurrency", &error),
    }
}
