//! Measures deployments and breaks them: a proxy counts, delays and loses the calls of the product to a cloud.
//!
//! Never used by a deployment itself. Read next: [`proxy`] for what is counted, [`measure`] for the figures,
//! [`chaos`] for the loop that kills and loses, [`chat`] for what users meet.

pub(crate) mod account;
pub(crate) mod call;
pub(crate) mod case;
pub(crate) mod chaos;
pub(crate) mod chat;
pub(crate) mod measure;
pub(crate) mod proxy;
pub(crate) mod report;
