//! Edits one line, as shells do: from the bytes of keys to lines, with a history of those before. Pure: the terminal is
//! [`super::console`]'s matter.
//!
//! A crate would cost more than it saves: those there are change features of `libc`, and so rebuild every SDK crate.

use std::collections::VecDeque;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What stands before the line.
const PROMPT: &str = "> ";

/// What keys have brought about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A finished line.
    Line(String),
    /// Ctrl-C, or Ctrl-D in an empty line.
    Leave,
}

/// A line that is being edited.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: Vec<char>,
    /// Characters before the cursor.
    cursor: usize,
    history: Vec<String>,
    /// How far back in the history, and what was typed before going there.
    back: usize,
    draft: Vec<char>,
    /// The beginning of a key that takes several bytes.
    bytes: VecDeque<u8>,
}

/// A key that was pressed.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    Char(char),
    /// Ctrl and this letter.
    Control(u8),
    /// What a terminal sends after escape and `[` or `O`: `A` for up, `3~` for delete.
    Escape(String),
}

impl Editor {
    /// Takes what the terminal has sent; the end of a key may come with the next call.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.bytes.extend(bytes);
        let mut events = Vec::new();
        while let Some(key) = self.key() {
            events.extend(self.press(&key));
        }
        events
    }

    /// Returns what draws prompt, line and cursor into one row of the terminal, wherever the cursor was in it. Of a line
    /// that is too long, the part around the cursor is shown.
    pub(super) fn drawn(&self, columns: usize) -> String {
        let room = columns.saturating_sub(PROMPT.width() + 1);
        let width = |text: &[char]| text.iter().map(|c| c.width().unwrap_or(0)).sum::<usize>();
        let mut start = 0;
        while width(&self.text[start..self.cursor]) > room {
            start += 1;
        }
        let mut end = self.cursor;
        while end < self.text.len() && width(&self.text[start..=end]) <= room {
            end += 1;
        }
        let shown: String = self.text[start..end].iter().collect();
        let right = width(&self.text[self.cursor..end]);
        let back = if right > 0 {
            format!("\x1b[{right}D")
        } else {
            String::new()
        };
        format!("\r\x1b[K{PROMPT}{shown}{back}")
    }

    /// Takes the next whole key.
    fn key(&mut self) -> Option<Key> {
        let first = *self.bytes.front()?;
        if first == 0x1b {
            return self.escape();
        }
        if first < 0x20 || first == 0x7f {
            self.bytes.pop_front();
            // Of Ctrl and a letter, terminals send the letter's last five bits.
            return Some(Key::Control(first));
        }
        let length = match first {
            0..0xc0 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
        };
        if self.bytes.len() < length {
            return None;
        }
        let bytes: Vec<u8> = self.bytes.drain(..length).collect();
        let text = String::from_utf8_lossy(&bytes);
        text.chars().next().map(Key::Char)
    }

    fn escape(&mut self) -> Option<Key> {
        match self.bytes.get(1)? {
            b'[' | b'O' => {}
            // Alt and a key.
            _ => {
                self.bytes.pop_front();
                let key = self.bytes.pop_front()?;
                return Some(Key::Escape(format!("alt-{}", char::from(key))));
            }
        }
        let end = self
            .bytes
            .iter()
            .skip(2)
            .position(|byte| (0x40..=0x7e).contains(byte))?;
        let key: Vec<u8> = self.bytes.drain(..end + 3).skip(2).collect();
        Some(Key::Escape(String::from_utf8_lossy(&key).into_owned()))
    }

    fn press(&mut self, key: &Key) -> Option<Event> {
        match key {
            Key::Char(c) => {
                self.text.insert(self.cursor, *c);
                self.cursor += 1;
            }
            Key::Control(b'\r' | b'\n') => return Some(self.finish()),
            Key::Control(3) => return Some(Event::Leave),
            Key::Control(4) if self.text.is_empty() => return Some(Event::Leave),
            Key::Control(1) => self.cursor = 0,
            Key::Control(5) => self.cursor = self.text.len(),
            Key::Control(2) => self.left(),
            Key::Control(6) => self.right(),
            Key::Control(4) => self.remove(self.cursor, self.cursor + 1),
            Key::Control(8 | 0x7f) => self.remove(self.cursor.saturating_sub(1), self.cursor),
            Key::Control(11) => self.remove(self.cursor, self.text.len()),
            Key::Control(21) => self.remove(0, self.cursor),
            Key::Control(23) => self.remove(self.word(), self.cursor),
            Key::Control(16) => self.older(),
            Key::Control(14) => self.newer(),
            Key::Control(_) => {}
            Key::Escape(name) => match name.as_str() {
                "A" => self.older(),
                "B" => self.newer(),
                "C" => self.right(),
                "D" => self.left(),
                "H" | "1~" | "7~" => self.cursor = 0,
                "F" | "4~" | "8~" => self.cursor = self.text.len(),
                "3~" => self.remove(self.cursor, self.cursor + 1),
                "alt-b" | "1;5D" => self.cursor = self.word(),
                _ => {}
            },
        }
        None
    }

    fn finish(&mut self) -> Event {
        let line: String = self.text.drain(..).collect();
        self.cursor = 0;
        self.back = 0;
        if !line.trim().is_empty() && self.history.last() != Some(&line) {
            self.history.push(line.clone());
        }
        Event::Line(line)
    }

    fn left(&mut self) {
        self.cursor = self.cursor.saturating_sub(1);
    }

    fn right(&mut self) {
        self.cursor = (self.cursor + 1).min(self.text.len());
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.text.drain(from..to.min(self.text.len()));
        self.cursor = from;
    }

    /// Returns where the word before the cursor begins.
    fn word(&self) -> usize {
        let before = &self.text[..self.cursor];
        let end = before
            .iter()
            .rposition(|c| !c.is_whitespace())
            .map_or(0, |last| last + 1);
        before[..end]
            .iter()
            .rposition(|c| c.is_whitespace())
            .map_or(0, |space| space + 1)
    }

    fn older(&mut self) {
        if self.back == 0 {
            self.draft.clone_from(&self.text);
        }
        self.recall((self.back + 1).min(self.history.len()));
    }

    fn newer(&mut self) {
        self.recall(self.back.saturating_sub(1));
    }

    fn recall(&mut self, back: usize) {
        if back == self.back {
            return;
        }
        self.back = back;
        self.text = match back {
            0 => self.draft.clone(),
            back => self.history[self.history.len() - back].chars().collect(),
        };
        self.cursor = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Event {
        Event::Line(text.to_owned())
    }

    #[test]
    fn keys_edit_the_line() {
        for (keys, expected) in [
            ("hello\r", "hello"),
            ("helo\x1b[Dl\r", "hello"),
            ("xello\x01\x1b[3~h\r", "hello"),
            ("hello!\x7f\r", "hello"),
            ("one two \x17three\r", "one three"),
            ("all of it\x15hello\r", "hello"),
            ("hello there\x1bb\x0b\x7f\r", "hello"),
            ("ello\x1b[Hh\x1b[F!\r", "hello!"),
            ("grüß 🎉\x7fdich\r", "grüß dich"),
            ("\x1b[D\x1b[C\x7f\x1b[3~\x0b\x15\x17x\r", "x"),
        ] {
            assert_eq!(Editor::default().feed(keys.as_bytes()), [line(expected)], "{keys:?}");
        }
    }

    #[test]
    fn lines_before_can_be_taken_again() {
        let mut editor = Editor::default();
        editor.feed(b"one\rtwo\r");
        assert_eq!(editor.feed(b"draft\x1b[A\x1b[A\x1b[A\r"), [line("one")]);
        assert_eq!(editor.feed(b"draft\x1b[A\x1b[A\x1b[B\x1b[B!\r"), [line("draft!")]);
    }

    #[test]
    fn keys_may_come_in_pieces() {
        let mut editor = Editor::default();
        for byte in "ü\x1b[Da\r".bytes() {
            let events = editor.feed(&[byte]);
            assert_eq!(events.is_empty(), byte != b'\r');
        }
        assert_eq!(editor.history, ["aü"]);
    }

    #[test]
    fn leaving_takes_an_empty_line_or_ctrl_c() {
        assert_eq!(Editor::default().feed(b"\x04"), [Event::Leave]);
        assert_eq!(Editor::default().feed(b"text\x03"), [Event::Leave]);
        assert_eq!(Editor::default().feed(b"ab\x1b[D\x04\r"), [line("a")]);
    }

    #[test]
    fn a_long_line_is_shown_around_the_cursor() {
        let mut editor = Editor::default();
        editor.feed(b"abcdefghij");
        assert_eq!(editor.drawn(80), "\r\x1b[K> abcdefghij");
        assert_eq!(editor.drawn(8), "\r\x1b[K> fghij");
        editor.feed(b"\x01");
        assert_eq!(editor.drawn(8), "\r\x1b[K> abcde\x1b[5D");
        assert_eq!(editor.drawn(0), "\r\x1b[K> ");
    }
}
