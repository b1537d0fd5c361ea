//! The stack under construction.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::graph::{Graph, Mistake, Mistakes};
use crate::{
    Alarm, AlarmRef, Dashboard, Function, LogicalId, Resource, Secret, StackId, Stage, Table, TableRef, Value,
    WebSocketApi,
};
use crate::{apigatewayv2::Api, lambda::FunctionParts};

/// Tag of a resource that names the application it belongs to.
pub const APP_TAG: &str = "stackwright:app";
/// Tag of a resource that names its stage.
pub const STAGE_TAG: &str = "stackwright:stage";
/// Tag of a resource that holds its logical id.
pub const ID_TAG: &str = "stackwright:id";

/// Collects constructs. The handles that its methods return share it, so that grants and routes can be added in any
/// order until [`Stack::build`].
#[derive(Debug)]
pub struct Stack {
    pub(crate) draft: Draft,
}

/// What handles hold.
pub(crate) type Draft = Rc<RefCell<DraftStack>>;

#[derive(Debug)]
pub(crate) struct DraftStack {
    pub(crate) id: StackId,
    pub(crate) stage: Stage,
    pub(crate) resources: BTreeMap<LogicalId, Resource>,
    pub(crate) functions: BTreeMap<String, FunctionParts>,
    pub(crate) apis: BTreeMap<String, Api>,
    pub(crate) outputs: BTreeMap<String, Value>,
    pub(crate) mistakes: Vec<Mistake>,
}

impl Stack {
    /// Starts the stack of application `app` in `stage`.
    #[must_use]
    pub fn new(app: &str, stage: &Stage) -> Self {
        let id = StackId {
            app: app.to_owned(),
            stage: stage.name.clone(),
        };
        let mut mistakes = Vec::new();
        for (what, name) in [("application", app), ("stage", &stage.name)] {
            let fits = (1..=20).contains(&name.len())
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            if !fits {
                mistakes.push(Mistake::Invalid {
                    subject: format!("{what} name `{name}`"),
                    message: "must be 1 to 20 lowercase letters, digits and hyphens".to_owned(),
                });
            }
        }
        let rooms = stage.settings.rooms;
        for (name, value, most) in [
            ("shards", rooms.shards, 256),
            ("inlineConnections", rooms.inline_connections, 100_000),
            ("postsPerSecond", rooms.posts_per_second, 1_000_000),
        ] {
            if !(1..=most).contains(&value) {
                mistakes.push(Mistake::Invalid {
                    subject: format!("rooms.{name}"),
                    message: format!("{value} is not between 1 and {most}"),
                });
            }
        }
        mistakes.extend(stage.settings.observability_mistake());
        let draft = DraftStack {
            id,
            stage: stage.clone(),
            resources: BTreeMap::new(),
            functions: BTreeMap::new(),
            apis: BTreeMap::new(),
            outputs: BTreeMap::new(),
            mistakes,
        };
        Self {
            draft: Rc::new(RefCell::new(draft)),
        }
    }

    /// Adds a DynamoDB table.
    pub fn table(&mut self, id: &str, table: Table) -> TableRef {
        table.add_to(&self.draft, id)
    }

    /// Adds a generated secret, kept as a `SecureString` parameter.
    ///
    /// Its value is made when it is first deployed and stands nowhere else: not in the record, not in templates.
    pub fn secret(&mut self, id: &str) -> Secret {
        Secret::add_to(&self.draft, id)
    }

    /// Adds the Lambda function of the binary `name`, with its log group, role and policy.
    pub fn function(&mut self, name: &str) -> Function {
        Function::add_to(&self.draft, name)
    }

    /// Returns all functions that were added so far, by their names.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        Function::all(&self.draft)
    }

    /// Adds a WebSocket API that chooses routes by the message's `action`.
    pub fn web_socket_api(&mut self, id: &str) -> WebSocketApi {
        WebSocketApi::add_to(&self.draft, id)
    }

    /// Adds an alarm.
    pub fn alarm(&mut self, id: &str, alarm: Alarm) -> AlarmRef {
        alarm.add_to(&self.draft, id)
    }

    /// Adds a dashboard.
    pub fn dashboard(&mut self, id: &str, dashboard: Dashboard) {
        dashboard.add_to(&self.draft, id);
    }

    /// Adds a value that `deploy` and `outputs` show.
    pub fn output(&mut self, name: &str, value: impl Into<Value>) {
        self.draft.borrow_mut().outputs.insert(name.to_owned(), value.into());
    }

    /// Adds a resource of any kind, for what has no construct.
    pub fn resource(&mut self, id: &str, resource: Resource) -> LogicalId {
        let id = LogicalId::from_words(&[id]);
        self.draft.borrow_mut().add(id.clone(), resource);
        id
    }

    /// Finishes the stack.
    ///
    /// # Errors
    /// All [`Mistakes`] together.
    pub fn build(self) -> Result<Graph, Mistakes> {
        let mut draft = self.draft.borrow_mut();
        for function in std::mem::take(&mut draft.functions).into_values() {
            function.finish(&mut draft);
        }
        for api in std::mem::take(&mut draft.apis).into_values() {
            api.finish(&mut draft);
        }
        let graph = Graph::new(
            draft.id.clone(),
            std::mem::take(&mut draft.resources),
            std::mem::take(&mut draft.outputs),
        );
        let mut mistakes = std::mem::take(&mut draft.mistakes);
        match graph {
            Ok(graph) if mistakes.is_empty() => Ok(graph),
            Ok(_) => Err(Mistakes(mistakes)),
            Err(Mistakes(more)) => {
                mistakes.extend(more);
                Err(Mistakes(mistakes))
            }
        }
    }
}

impl DraftStack {
    /// Adds a resource, with ownership tags where its type carries any.
    pub(crate) fn add(&mut self, id: LogicalId, mut resource: Resource) {
        if resource.kind.is_taggable() {
            resource.properties.insert("Tags".to_owned(), self.tags(&id));
        }
        if self.resources.insert(id.clone(), resource).is_some() {
            self.mistakes.push(Mistake::Duplicate { id });
        }
    }

    /// Notes a value that AWS would refuse.
    pub(crate) fn invalid(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.mistakes.push(Mistake::Invalid {
            subject: subject.into(),
            message: message.into(),
        });
    }

    /// Returns the tags that say whose a resource is.
    ///
    /// One map for all types here; providers and synthesis write it in each service's own shape.
    fn tags(&self, id: &LogicalId) -> Value {
        Value::map([
            (APP_TAG, self.id.app.as_str()),
            (STAGE_TAG, self.id.stage.as_str()),
            (ID_TAG, id.as_str()),
        ])
    }
}
