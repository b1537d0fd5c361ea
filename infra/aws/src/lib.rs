//! Providers: what the engine's verbs mean at AWS.
