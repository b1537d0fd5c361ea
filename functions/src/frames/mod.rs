//! The wire format between clients and the chat: JSON text frames, in both directions.
//!
//! `docs/protocol.md` lists them all. Frames from clients are read by [`send_message`], [`join`], [`who`], [`ask_history`],
//! [`kick`] and [`ping`]; the other functions write what clients receive.

mod inbound;
mod outbound;

pub use inbound::{
    CLIENT_ID_CHARACTERS_MAX, HistoryFrame, JoinFrame, KickFrame, SendMessageFrame, WhoFrame, client_id,
    history as ask_history, join, kick, object, ping, send_message, who,
};
pub use outbound::{ack, error, history, kick_ack, kicked, members, message, pong, presence};

use functions_domain::Refusal;

/// What an error frame is about. The text is part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The frame is no JSON object.
    BadJson,
    /// `action` is absent or not one of ours.
    UnknownAction,
    /// `data` is absent, empty, no text, or has control characters.
    BadData,
    /// `data` does not fit into one frame to the receivers.
    DataTooLarge,
    /// `room` is no room's name.
    BadRoom,
    /// `id` is no short text.
    BadId,
    /// A field that the action does not know, or with a value that it does not take.
    BadField,
    /// No role of the user allows the action.
    Forbidden,
    /// Too many actions in a short time.
    RateLimited,
    /// The connection was forgotten; connect again.
    NotConnected,
    /// The token has expired; connect again with a new one.
    TokenExpired,
}

/// A frame that cannot be obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
    /// The client's name for the frame, if it could be read.
    pub id: Option<String>,
}

impl ErrorCode {
    /// Returns the code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::UnknownAction => "unknown_action",
            Self::BadData => "bad_data",
            Self::DataTooLarge => "data_too_large",
            Self::BadRoom => "bad_room",
            Self::BadId => "bad_id",
            Self::BadField => "bad_field",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::NotConnected => "not_connected",
            Self::TokenExpired => "token_expired",
        }
    }

    /// Returns whether the connection ends after the error frame: nothing that it could send would be obeyed.
    pub fn ends_connection(self) -> bool {
        match self {
            Self::TokenExpired | Self::NotConnected => true,
            Self::BadJson
            | Self::UnknownAction
            | Self::BadData
            | Self::DataTooLarge
            | Self::BadRoom
            | Self::BadId
            | Self::BadField
            | Self::Forbidden
            | Self::RateLimited => false,
        }
    }
}

impl Rejection {
    /// Returns a rejection of a frame that the client may have named `id`.
    pub fn new(code: ErrorCode, message: impl Into<String>, id: Option<String>) -> Self {
        Self {
            code,
            message: message.into(),
            id,
        }
    }
}

impl Rejection {
    /// Returns the rejection of an action that was not admitted; nothing, if that is our fault.
    pub fn of(refusal: &Refusal, id: Option<String>) -> Option<Self> {
        let code = match refusal {
            Refusal::TokenExpired => ErrorCode::TokenExpired,
            Refusal::Forbidden => ErrorCode::Forbidden,
            Refusal::TooFast => ErrorCode::RateLimited,
            Refusal::NotConnected => ErrorCode::NotConnected,
            Refusal::Unavailable(_) => return None,
        };
        Some(Self::new(code, refusal.to_string(), id))
    }
}
