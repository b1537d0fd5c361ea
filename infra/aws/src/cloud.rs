//! The engine's verbs, handed to the service that a resource type belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{try_join, try_join_all, try_join4, try_join5};
use infra_cdk::{Context, Kind, LogicalId, StackId};
use infra_engine::{Class, Cloud, CloudError, Desired, Live, Target};

use crate::census::Census;
use crate::error::refused;
use crate::repeat::repeated;
use crate::shape::text;
use crate::{Session, account, alias, apigatewayv2, cloudwatch, dynamodb, function, iam, logs, permission, ssm, url};

/// AWS, or what listens at its endpoint override.
#[derive(Debug)]
pub struct AwsCloud {
    session: Session,
    /// What this process has tried to create where AWS assigns the id and lets names repeat. The planner has just seen
    /// that it does not exist, so the first attempt creates at once; a second one may come after a lost answer, and
    /// looks first.
    attempted: Mutex<BTreeSet<(StackId, LogicalId)>>,
}

impl AwsCloud {
    /// Returns the cloud that a session is connected to.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self {
            session,
            attempted: Mutex::new(BTreeSet::new()),
        }
    }

    /// Returns the session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Notes an attempt to create and returns whether there was one before.
    fn attempt(&self, desired: &Desired) -> bool {
        !self.attempted().insert((desired.stack.clone(), desired.id.clone()))
    }

    fn attempted(&self) -> MutexGuard<'_, BTreeSet<(StackId, LogicalId)>> {
        self.attempted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn observe_single(&self, target: &Target) -> Result<Option<(LogicalId, Live)>, CloudError> {
        let session = &self.session;
        let live = match target.kind {
            Kind::Table => dynamodb::observe(session, target).await,
            Kind::Role => iam::observe_role(session, target).await,
            Kind::RolePolicy => iam::observe_policy(session, target).await,
            Kind::Parameter => ssm::observe(session, target).await,
            Kind::Account => account::observe(session, target).await,
            Kind::Dashboard => cloudwatch::observe_dashboard(session, target).await,
            Kind::Api
            | Kind::Authorizer
            | Kind::Deployment
            | Kind::Integration
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Stage
            | Kind::Function
            | Kind::Alias
            | Kind::Permission
            | Kind::Url
            | Kind::LogGroup
            | Kind::Alarm => Err(misdirected(target.kind)),
        }?;
        Ok(live.map(|live| (target.id.clone(), live)))
    }
}

/// How resources of a type are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Each by a call of its own.
    Single,
    /// What a census may rule out.
    Counted,
    Alarms,
    Apis,
    InApi,
    Functions,
    LogGroups,
    Permissions,
    Urls,
}

impl Reading {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Parameter | Kind::Account | Kind::Dashboard => Self::Single,
            Kind::Alarm => Self::Alarms,
            Kind::Table | Kind::Role | Kind::RolePolicy => Self::Counted,
            Kind::Function | Kind::Alias => Self::Functions,
            Kind::Api => Self::Apis,
            Kind::Authorizer
            | Kind::Deployment
            | Kind::Integration
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Stage => Self::InApi,
            Kind::LogGroup => Self::LogGroups,
            Kind::Permission => Self::Permissions,
            Kind::Url => Self::Urls,
        }
    }
}

impl Cloud for AwsCloud {
    fn context(&self) -> &Context {
        self.session.context()
    }

    async fn observe(&self, targets: &[Target]) -> Result<BTreeMap<LogicalId, Live>, CloudError> {
        let session = &self.session;
        let by = |reading| targets.iter().filter(move |target| Reading::of(target.kind) == reading);
        let (apis, in_apis): (Vec<_>, Vec<_>) = (by(Reading::Apis).collect(), by(Reading::InApi).collect());
        let (alarms, log_groups): (Vec<_>, Vec<_>) = (by(Reading::Alarms).collect(), by(Reading::LogGroups).collect());
        let singles = try_join_all(by(Reading::Single).map(|target| repeated(move || self.observe_single(target))));
        let after_census = async {
            let census = Census::take(session, targets).await;
            let may_exist = |target: &&Target| !census.rules_out(target);
            let functions: Vec<_> = by(Reading::Functions).filter(may_exist).collect();
            let permissions: Vec<_> = by(Reading::Permissions).filter(may_exist).collect();
            let urls: Vec<_> = by(Reading::Urls).filter(may_exist).collect();
            let counted = by(Reading::Counted).filter(may_exist);
            try_join4(
                try_join_all(counted.map(|target| repeated(move || self.observe_single(target)))),
                repeated(|| function::observe(session, &functions)),
                repeated(|| permission::observe(session, &permissions)),
                repeated(|| url::observe(session, &urls)),
            )
            .await
        };
        // Parts are repeated by themselves: of many reads one nearly always fails where one in twenty does.
        let (singles, (counted, functions, permissions, urls), apis, in_apis, (alarms, log_groups)) = try_join5(
            singles,
            after_census,
            repeated(|| apigatewayv2::observe_apis(session, &apis)),
            repeated(|| apigatewayv2::observe_children(session, &in_apis)),
            try_join(
                repeated(|| cloudwatch::observe_alarms(session, &alarms)),
                repeated(|| logs::observe(session, &log_groups)),
            ),
        )
        .await?;
        Ok(singles
            .into_iter()
            .chain(counted)
            .flatten()
            .chain(apis)
            .chain(in_apis)
            .chain(functions)
            .chain(log_groups)
            .chain(alarms)
            .chain(permissions)
            .chain(urls)
            .collect())
    }

    async fn reconcile(&self, desired: &Desired, live: Option<&Live>) -> Result<Live, CloudError> {
        let session = &self.session;
        match desired.kind {
            Kind::Table => dynamodb::reconcile(session, desired, live).await,
            Kind::Role => iam::reconcile_role(session, desired, live).await,
            Kind::RolePolicy => iam::reconcile_policy(session, desired, live).await,
            Kind::Function => function::reconcile(session, desired, live).await,
            Kind::Alias => alias::reconcile(session, desired, live).await,
            Kind::Permission => permission::reconcile(session, desired, live).await,
            Kind::Url => url::reconcile(session, desired, live).await,
            Kind::LogGroup => logs::reconcile(session, desired, live).await,
            Kind::Parameter => ssm::reconcile(session, desired, live).await,
            Kind::Account => account::reconcile(session, desired, live).await,
            Kind::Alarm => cloudwatch::reconcile_alarm(session, desired, live).await,
            Kind::Dashboard => cloudwatch::reconcile_dashboard(session, desired, live).await,
            Kind::Api
            | Kind::Authorizer
            | Kind::Deployment
            | Kind::Integration
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Stage => {
                let attempted = live.is_none() && self.attempt(desired);
                let result = apigatewayv2::reconcile(session, desired, live, attempted).await;
                if !attempted && result.as_ref().is_err_and(was_refused) {
                    self.attempted().remove(&(desired.stack.clone(), desired.id.clone()));
                }
                result
            }
        }
    }

    async fn delete(&self, target: &Target) -> Result<(), CloudError> {
        let session = &self.session;
        // Recorded resources carry their id; others are only deleted after they were found, and then carry it too.
        let Some(id) = target.physical_id.as_deref() else {
            return Ok(());
        };
        let parent = |name: &str| text(&target.properties, name);
        match target.kind {
            Kind::Table => dynamodb::delete(session, id).await,
            Kind::Role => iam::delete_role(session, id).await,
            Kind::RolePolicy => match id.split_once('/') {
                Some((role, policy)) => iam::delete_policy(session, role, policy).await,
                None => Ok(()),
            },
            Kind::Function => function::delete(session, id).await,
            Kind::Alias => alias::delete(session, id).await,
            Kind::Permission => match parent("FunctionName") {
                Some(function) => permission::delete(session, function, id).await,
                None => Ok(()),
            },
            Kind::Url => url::delete(session, id).await,
            Kind::LogGroup => logs::delete(session, id).await,
            Kind::Parameter => ssm::delete(session, id).await,
            // It is the account's, not ours.
            Kind::Account => Ok(()),
            Kind::Alarm => cloudwatch::delete_alarm(session, id).await,
            Kind::Dashboard => cloudwatch::delete_dashboard(session, id).await,
            Kind::Api
            | Kind::Authorizer
            | Kind::Deployment
            | Kind::Integration
            | Kind::Route
            | Kind::RouteResponse
            | Kind::Stage => apigatewayv2::delete(session, target, id).await,
        }
    }
}

/// Returns whether an error says for certain that nothing was created.
fn was_refused(error: &CloudError) -> bool {
    error.operation.starts_with("apigateway:Create") && matches!(error.class, Class::Throttled | Class::Busy)
}

/// A resource type reached a service that it does not belong to; the tables above rule it out.
pub(crate) fn misdirected(kind: Kind) -> CloudError {
    let message = format!("{} belongs to another service", kind.cloudformation_type());
    refused("dispatch", Class::Permanent, message)
}
