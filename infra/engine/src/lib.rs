//! The deployment engine: plan, apply, record.
//!
//! Knows no AWS SDK and no terminal. A [`Cloud`] says what exists and makes it be as desired; a [`Store`] keeps the
//! record of what was deployed; [`mod@plan`] decides, purely; [`Engine`] runs the steps in parallel and tells an observer.
//!
//! Read next: [`mod@plan`] for the decisions, [`provider`] for what a cloud must do.

mod aliases;
mod apply;
mod diff;
mod engine;
mod event;
mod last_good;
mod observe;
mod order;
mod packaging;
mod path;
pub mod plan;
pub mod provider;
pub mod record;
mod recorder;
mod recover;
mod retry;

pub mod sim;
mod time;

pub use engine::{Engine, EngineError, Observed, Prepared, Rebuilt, Report};
pub use event::Event;
pub use packaging::{Packaging, Packer, packaging};
pub use plan::{Action, After, Cause, Change, Facts, Foreign, Package, Packages, Plan, Step, StepId};
pub use provider::{Class, Cloud, CloudError, Desired, Live, Ownership, Properties, Target};
pub use record::{Header, Intent, Lock, Outcome, Record, Recorded, Store, StoreError};
pub use time::{SystemClock, Time};
