//! What the data plane needs of the rest of the cloud.

use std::sync::Arc;

use bytes::Bytes;

use super::Gateway;
use crate::apigatewayv2::snapshot::Live;
use crate::cloud::{Account, Cloud};
use crate::lambda::{self, Invoker, Outcome};
use crate::wire::ApiError;

/// AWS spreads the lines over streams that are named by digests.
const ACCESS_LOG_STREAM: &str = "access";

/// The other services, as seen from the front door.
pub(super) trait Backend: Send + Sync + 'static {
    fn account(&self) -> &Account;
    /// `http://127.0.0.1:PORT`.
    fn endpoint(&self) -> &str;
    fn gateway(&self) -> &Gateway;
    /// Returns what is live on a stage.
    fn live(&self, api_id: &str, stage: &str) -> Option<Live>;
    /// Appends a line to an access log. A log group that does not exist takes none.
    fn log(&self, group: &str, line: String);
    /// See [`lambda::invoke`].
    fn invoke(
        self: Arc<Self>,
        function: String,
        payload: Bytes,
        invoker: Invoker,
    ) -> impl Future<Output = Result<Outcome, ApiError>> + Send;
}

impl Backend for Cloud {
    fn account(&self) -> &Account {
        &self.account
    }

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn live(&self, api_id: &str, stage: &str) -> Option<Live> {
        self.apigatewayv2.live(api_id, stage)
    }

    fn log(&self, group: &str, line: String) {
        let now = jiff::Timestamp::now().as_millisecond();
        if let Err(error) = self.logs.append(group, ACCESS_LOG_STREAM, &[(now, line)]) {
            tracing::debug!(group, %error, "a line of an access log is lost");
        }
    }

    async fn invoke(self: Arc<Self>, function: String, payload: Bytes, invoker: Invoker) -> Result<Outcome, ApiError> {
        lambda::invoke(&self, &function, payload, invoker).await
    }
}
