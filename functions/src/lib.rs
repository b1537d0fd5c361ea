//! Adapters and Lambda handlers of the chat.
