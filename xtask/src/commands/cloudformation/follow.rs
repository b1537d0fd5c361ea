//! Shows what CloudFormation does, until it has ended.

use infra_aws::{Ended, FollowStack, Happening, Names};

use super::Site;
use crate::failure::Failure;
use crate::ui::{self, YELLOW, paint};

impl Site<'_> {
    /// Prepares to follow a stack from now on.
    pub(crate) async fn follow(&self, id: &str, names: Names) -> Result<FollowStack, Failure> {
        FollowStack::from_now(&self.stack, id, names)
            .await
            .map_err(|error| self.cloud("the stack's events cannot be read", error))
    }

    /// Shows each event until nothing more happens. After Ctrl-C CloudFormation goes on by itself.
    ///
    /// # Errors
    /// When the events cannot be read any more, and after Ctrl-C.
    pub(crate) async fn watch(&self, mut follow: FollowStack) -> Result<Ended, Failure> {
        loop {
            let happenings = self.app.interrupt.or(async {
                let next = follow.next().await;
                next.map_err(|error| self.cloud("the stack's events cannot be read", error))
            });
            let happenings = happenings.await.map_err(|failure| {
                failure.when_interrupted(format!(
                    "interrupted; CloudFormation goes on with the stack {}. To see how it ends: {}; to stop an update: \
                     aws cloudformation cancel-update-stack --stack-name {}",
                    self.stack.name(),
                    self.target.scope().again(),
                    self.stack.name()
                ))
            })?;
            for happening in happenings {
                match happening {
                    Happening::Step(event) => self.progress.show(&event),
                    Happening::GoingBack => ui::say(paint(YELLOW, "  CloudFormation undoes what it has done")),
                    Happening::Ended(ended) => return Ok(ended),
                }
            }
        }
    }
}
