//! A proxy in front of the local cloud that holds some requests back until it is opened.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::support::PATIENCE;

/// The proxy; its threads end with the test's process.
pub(crate) struct Gate {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Requests that contain this text are held back.
    holds: &'static str,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    held: usize,
}

impl Gate {
    /// Starts a closed gate before `endpoint`.
    pub(crate) fn before(endpoint: &str, holds: &'static str) -> Self {
        let cloud = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            holds,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let gate = Self {
            endpoint: format!("http://{address}"),
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&cloud) else {
                    continue;
                };
                let (answers, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || pass(client, server, |bytes| shared.hold(bytes)));
                std::thread::spawn(move || pass(answers, back, |_| {}));
            }
        });
        gate
    }

    /// Returns once a request is held back.
    pub(crate) fn wait_until_held(&self) {
        let state = self.shared.state.lock().unwrap();
        let (_state, waited) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.held == 0)
            .unwrap();
        assert!(!waited.timed_out(), "nothing was held back");
    }

    /// Lets everything through.
    pub(crate) fn open(&self) {
        self.shared.state.lock().unwrap().is_open = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn hold(&self, bytes: &[u8]) {
        if !String::from_utf8_lossy(bytes).contains(self.holds) {
            return;
        }
        let mut state = self.state.lock().unwrap();
        state.held += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.is_open).unwrap());
    }
}

/// Copies until one side ends. A request's head comes in one piece: clients write it with one call.
fn pass(mut from: TcpStream, mut to: TcpStream, before: impl Fn(&[u8])) {
    let mut buffer = vec![0; 65_536];
    while let Ok(count) = from.read(&mut buffer) {
        before(&buffer[..count]);
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
