//! Where lines come from and frames go: a terminal with a line editor, or stdin and stdout.

use std::collections::VecDeque;
use std::io::{BufRead, IsTerminal, Read, Write};

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::editor::{Editor, Event};
use crate::failure::Failure;
use crate::ui;

/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// Both directions.
pub(super) struct Console {
    input: mpsc::Receiver<Vec<u8>>,
    terminal: Option<Terminal>,
    /// What was typed and not yet asked for.
    events: VecDeque<Event>,
}

/// A terminal that gives us each key; dropping it gives it back.
struct Terminal {
    before: Termios,
    editor: Editor,
}

impl Console {
    /// Begins to read, in a thread of its own: reading stdin cannot be cancelled.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub(super) fn open() -> Result<Self, Failure> {
        let terminal = if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            Some(Terminal::take().map_err(|error| Failure::new("the terminal cannot be used").because(error))?)
        } else {
            None
        };
        let (sender, input) = mpsc::channel(1);
        let has_editor = terminal.is_some();
        std::thread::spawn(move || {
            let mut stdin = std::io::stdin().lock();
            loop {
                let mut bytes = Vec::new();
                let read = if has_editor {
                    bytes.resize(1_024, 0);
                    stdin.read(&mut bytes)
                } else {
                    stdin.read_until(b'\n', &mut bytes)
                };
                match read {
                    Ok(count) if count > 0 => bytes.truncate(count),
                    Ok(_) | Err(_) => return,
                }
                if sender.blocking_send(bytes).is_err() {
                    return;
                }
            }
        });
        let console = Self {
            input,
            terminal,
            events: VecDeque::new(),
        };
        console.draw("");
        Ok(console)
    }

    /// Returns whether a person sits there.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// Returns the next line, or `None` at the end. May be dropped while it waits.
    pub(super) async fn line(&mut self) -> Option<String> {
        loop {
            match self.events.pop_front() {
                Some(Event::Line(line)) => return Some(line),
                Some(Event::Leave) => return None,
                None => {}
            }
            let bytes = self.input.recv().await?;
            let Some(terminal) = &mut self.terminal else {
                return Some(
                    String::from_utf8_lossy(&bytes)
                        .trim_end_matches(['\r', '\n'])
                        .to_owned(),
                );
            };
            let events = terminal.editor.feed(&bytes);
            let finished = events.iter().filter_map(|event| match event {
                Event::Line(line) => Some(format!("> {line}\n")),
                Event::Leave => None,
            });
            let finished: String = finished.collect();
            self.draw(&finished);
            self.events.extend(events);
        }
    }

    /// Prints a line, or several.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(super) fn print(&self, text: &str) -> Result<(), Failure> {
        if self.is_terminal() {
            self.draw(&format!("{}\n", ui::for_stdout(text)));
            return Ok(());
        }
        ui::data(text)
    }

    /// Writes text above the line that is being edited.
    fn draw(&self, above: &str) {
        if let Some(terminal) = &self.terminal {
            let columns = tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { COLUMNS } else { columns };
            terminal.write(&format!("\r\x1b[K{above}{}", terminal.editor.drawn(columns)));
        }
    }
}

impl Terminal {
    fn take() -> Result<Self, rustix::io::Errno> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        // Line ends are still written as terminals need them.
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::IXON;
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self {
            before,
            editor: Editor::default(),
        })
    }

    fn write(&self, text: &str) {
        // Fails only when the terminal is gone; then reading ends as well.
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.write("\r\x1b[K");
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
