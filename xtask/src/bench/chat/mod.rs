//! The chat as its users meet it: real binaries on a local cloud of their own, real WebSocket connections.
//!
//! [`crowd`] is one large room, [`soak`] many small ones with people who come and go while things fail. [`house`] starts
//! and deploys, [`client`] connects, [`machine`] looks at files and memory. The local cloud is another process, so that
//! its memory is its own, and so that each side has all the files that one process may open.

pub(crate) mod client;
pub(crate) mod crowd;
pub(crate) mod house;
pub(crate) mod machine;
pub(crate) mod soak;
