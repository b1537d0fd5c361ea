//! Signed AWS calls for services whose generated SDK is not worth its compile time.
