//! The finished graph, and the mistakes that prevent one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{LogicalId, Resource, StackId, Value};

/// Everything a stack declares, checked: all references exist, and nothing depends on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    stack: StackId,
    resources: BTreeMap<LogicalId, Resource>,
    outputs: BTreeMap<String, Value>,
    order: Vec<LogicalId>,
}

impl Graph {
    /// Checks resources and outputs and orders them.
    ///
    /// # Errors
    /// All [`Mistakes`] together.
    pub fn new(
        stack: StackId,
        resources: BTreeMap<LogicalId, Resource>,
        outputs: BTreeMap<String, Value>,
    ) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        for (id, resource) in &resources {
            check_references(
                &resources,
                &format!("resource {id}"),
                &resource.references(),
                &mut mistakes,
            );
            for other in resource.depends_on.iter().chain(&resource.snapshot_of) {
                if !resources.contains_key(other) {
                    mistakes.push(Mistake::UnknownResource {
                        subject: format!("resource {id}"),
                        id: other.clone(),
                    });
                }
            }
        }
        for (name, value) in &outputs {
            let mut references = BTreeSet::new();
            value.references(&mut |of, attribute| {
                references.insert((of.clone(), attribute));
            });
            check_references(&resources, &format!("output {name}"), &references, &mut mistakes);
        }
        let order = if mistakes.is_empty() {
            topological_order(&resources, &mut mistakes)
        } else {
            Vec::new()
        };
        if mistakes.is_empty() {
            Ok(Self {
                stack,
                resources,
                outputs,
                order,
            })
        } else {
            Err(Mistakes(mistakes))
        }
    }

    /// Returns which stack this is.
    #[must_use]
    pub fn stack(&self) -> &StackId {
        &self.stack
    }

    /// Returns all resources by their logical ids.
    #[must_use]
    pub fn resources(&self) -> &BTreeMap<LogicalId, Resource> {
        &self.resources
    }

    /// Returns what the deployment tells its users, by name.
    #[must_use]
    pub fn outputs(&self) -> &BTreeMap<String, Value> {
        &self.outputs
    }

    /// Returns all resources, each after everything that it depends on or refers to; the same for the same graph.
    pub fn in_order(&self) -> impl Iterator<Item = (&LogicalId, &Resource)> {
        self.order.iter().map(|id| (id, &self.resources[id]))
    }

    /// Returns what must be done before `id` is made: its declared dependencies, what it takes a snapshot of, and
    /// everything whose AWS-assigned attributes it needs.
    #[must_use]
    pub fn dependencies(&self, id: &LogicalId) -> BTreeSet<LogicalId> {
        self.resources.get(id).map_or_else(BTreeSet::new, |resource| {
            let assigned = resource.references().into_iter().filter(|(of, name)| {
                let kind = self.resources[of].kind;
                !(kind.name_property() == Some(name) || (kind.name_property().is_some() && *name == "Arn"))
            });
            resource
                .depends_on
                .iter()
                .chain(&resource.snapshot_of)
                .cloned()
                .chain(assigned.map(|(of, _)| of))
                .collect()
        })
    }

    /// Returns what must be deleted after `id`: its declared dependencies, what contains it, and what it refers to
    /// inside the same parent, such as the integration of a route.
    ///
    /// Other references order creation only: a function that knows an API's id does not keep the API from being deleted.
    #[must_use]
    pub fn outlived_by(&self, id: &LogicalId) -> BTreeSet<LogicalId> {
        self.resources.get(id).map_or_else(BTreeSet::new, |resource| {
            let siblings = resource.references().into_iter().map(|(of, _)| of).filter(|of| {
                let parent = self.resources[of].parent.as_ref();
                parent.is_some() && parent == resource.parent.as_ref()
            });
            resource
                .depends_on
                .iter()
                .chain(&resource.parent)
                .cloned()
                .chain(siblings)
                .collect()
        })
    }
}

/// Something in the declaration that cannot be deployed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// Two constructs ask for one logical id.
    #[error("{id} is declared twice; give one of them another name")]
    Duplicate {
        /// The id.
        id: LogicalId,
    },
    /// A reference or dependency names nothing in this stack.
    #[error("{subject} refers to {id}, which this stack does not declare")]
    UnknownResource {
        /// Where the reference stands.
        subject: String,
        /// What it names.
        id: LogicalId,
    },
    /// A reference names an attribute that its resource does not have.
    #[error("{subject} refers to {id}.{attribute}, but {id} has only {available}")]
    UnknownAttribute {
        /// Where the reference stands.
        subject: String,
        /// The resource.
        id: LogicalId,
        /// The attribute.
        attribute: String,
        /// What could have been meant.
        available: String,
    },
    /// Resources depend on each other in a circle.
    #[error("these depend on each other in a circle: {}", ids.iter().map(LogicalId::as_str).collect::<Vec<_>>().join(", "))]
    Cycle {
        /// Members of the circle and what depends on them.
        ids: Vec<LogicalId>,
    },
    /// A construct was given a value that AWS would refuse.
    #[error("{subject}: {message}")]
    Invalid {
        /// The construct.
        subject: String,
        /// Why, and what would be right.
        message: String,
    },
}

/// All mistakes of one declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Mistake>);

fn check_references(
    resources: &BTreeMap<LogicalId, Resource>,
    subject: &str,
    references: &BTreeSet<(LogicalId, &'static str)>,
    mistakes: &mut Vec<Mistake>,
) {
    for (of, attribute) in references {
        match resources.get(of) {
            None => mistakes.push(Mistake::UnknownResource {
                subject: subject.to_owned(),
                id: of.clone(),
            }),
            Some(target) if !target.kind.attributes().contains(attribute) => {
                mistakes.push(Mistake::UnknownAttribute {
                    subject: subject.to_owned(),
                    id: of.clone(),
                    attribute: (*attribute).to_owned(),
                    available: target.kind.attributes().join(", "),
                });
            }
            Some(_) => {}
        }
    }
}

/// Orders by Kahn's algorithm, taking the smallest ready id first.
fn topological_order(resources: &BTreeMap<LogicalId, Resource>, mistakes: &mut Vec<Mistake>) -> Vec<LogicalId> {
    let mut waiting: BTreeMap<LogicalId, BTreeSet<LogicalId>> = resources
        .iter()
        .map(|(id, resource)| {
            let referred = resource.references().into_iter().map(|(of, _)| of);
            let before = resource
                .depends_on
                .iter()
                .chain(&resource.snapshot_of)
                .cloned()
                .chain(referred);
            (id.clone(), before.collect())
        })
        .collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(next) = waiting
        .iter()
        .find(|(_, before)| before.is_empty())
        .map(|(id, _)| id.clone())
    {
        waiting.remove(&next);
        for before in waiting.values_mut() {
            before.remove(&next);
        }
        order.push(next);
    }
    if !waiting.is_empty() {
        mistakes.push(Mistake::Cycle {
            ids: waiting.into_keys().collect(),
        });
    }
    order
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::Kind;

    fn id(text: &str) -> LogicalId {
        text.parse().unwrap()
    }

    fn build(resources: impl IntoIterator<Item = (&'static str, Resource)>) -> Result<Graph, Mistakes> {
        let stack = StackId {
            app: "chat".into(),
            stage: "test".into(),
        };
        Graph::new(
            stack,
            resources
                .into_iter()
                .map(|(name, resource)| (id(name), resource))
                .collect(),
            BTreeMap::new(),
        )
    }

    #[test]
    fn all_mistakes_are_reported_together() {
        let Mistakes(mistakes) = build([
            (
                "A",
                Resource::new(Kind::Role).with(
                    "X",
                    Value::Attribute {
                        of: id("Nowhere"),
                        name: "Arn",
                    },
                ),
            ),
            (
                "B",
                Resource::new(Kind::Role).with(
                    "X",
                    Value::Attribute {
                        of: id("A"),
                        name: "ApiId",
                    },
                ),
            ),
            ("C", Resource::new(Kind::Role).after([id("Missing")])),
        ])
        .unwrap_err();
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
    }

    #[test]
    fn a_circle_is_named() {
        let error = build([
            ("A", Resource::new(Kind::Role).after([id("B")])),
            ("B", Resource::new(Kind::Role).after([id("A")])),
            ("C", Resource::new(Kind::Role)),
        ])
        .unwrap_err();
        assert_eq!(
            error.0,
            [Mistake::Cycle {
                ids: vec![id("A"), id("B")]
            }]
        );
    }

    #[test]
    fn only_what_aws_assigns_or_checks_orders_steps() {
        let graph = build([
            ("Api", Resource::new(Kind::Api)),
            ("Table", Resource::new(Kind::Table)),
            ("Role", Resource::new(Kind::Role)),
            (
                "Function",
                Resource::new(Kind::Function)
                    .with(
                        "Table",
                        Value::Attribute {
                            of: id("Table"),
                            name: "TableName",
                        },
                    )
                    .with(
                        "Arn",
                        Value::Attribute {
                            of: id("Table"),
                            name: "Arn",
                        },
                    )
                    .with(
                        "Api",
                        Value::Attribute {
                            of: id("Api"),
                            name: "ApiId",
                        },
                    )
                    .after([id("Role")]),
            ),
        ])
        .unwrap();
        assert_eq!(
            graph.dependencies(&id("Function")),
            BTreeSet::from([id("Api"), id("Role")])
        );
        let order: Vec<_> = graph.in_order().map(|(id, _)| id.as_str().to_owned()).collect();
        assert_eq!(order.last().unwrap(), "Function");
    }
}
