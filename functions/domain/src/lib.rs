//! Entities, ports and use cases of the chat.
