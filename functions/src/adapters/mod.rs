//! The domain's ports on AWS. Nothing here decides anything about the chat.
//!
//! All clients are configured explicitly: Region, credentials and endpoint from the environment, TLS by rustls with
//! ring (its first handshake costs a small function milliseconds, where the SDK's default takes a third of a second),
//! time-outs well below the functions' own.

mod api_gateway;
mod aws;
mod dynamodb;
mod emf;
mod http;
mod lambda;
mod messages;
mod parameter_store;
mod system;

pub use api_gateway::ApiGateway;
pub use aws::Aws;
pub use dynamodb::DynamoDb;
pub use emf::Emf;
pub use lambda::LambdaLegs;
pub use messages::Messages;
pub use parameter_store::ParameterStoreTokens;
pub use system::{RandomIds, SystemClock};
