//! Generated secrets in SSM Parameter Store.

use crate::iam::Statement;
use crate::stack::Draft;
use crate::{Function, Kind, LogicalId, Resource, Value};

/// Random bytes of a generated secret. RFC 7518 section 3.2 asks for at least 32 for HS256.
const GENERATED_BYTES: u32 = 48;

/// A `SecureString` parameter with a generated value.
#[derive(Clone, Debug)]
pub struct Secret {
    id: LogicalId,
}

impl Secret {
    pub(crate) fn add_to(draft: &Draft, id: &str) -> Self {
        let id = LogicalId::from_words(&[id]);
        let mut draft = draft.borrow_mut();
        let name = format!("/{}/{}/{id}", draft.id.app, draft.id.stage);
        let mut resource = Resource::new(Kind::Parameter)
            .with("Name", name)
            .with("Type", "SecureString")
            .with("GeneratedBytes", GENERATED_BYTES);
        resource.removal_policy = draft.stage.settings.removal_policy;
        draft.add(id.clone(), resource);
        Self { id }
    }

    /// Returns the parameter's name.
    #[must_use]
    pub fn name(&self) -> Value {
        Value::Attribute {
            of: self.id.clone(),
            name: "Name",
        }
    }

    /// Lets a function read the value.
    ///
    /// The AWS-managed key `aws/ssm` that encrypts it needs no grant of its own.
    pub fn grant_read(&self, function: &Function) {
        let arn = Value::Attribute {
            of: self.id.clone(),
            name: "Arn",
        };
        function.allow(Statement::allow(
            format!("Read{}", self.id),
            ["ssm:GetParameter"],
            [arn],
        ));
    }
}

impl From<&Secret> for Value {
    /// A secret stands for its name, never for its value.
    fn from(secret: &Secret) -> Self {
        secret.name()
    }
}
