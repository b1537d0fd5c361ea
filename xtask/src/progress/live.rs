//! What is running, drawn in place at the end of a terminal: one row each with a spinner and the time since it began.
//!
//! Rows are cut to the terminal's width. What is printed meanwhile goes above them, see [`crate::ui`]. Read next:
//! [`super::Progress`], which decides what is a row and what a line.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::ui;

/// Rows drawn at once; the others wait until one of them ends, so that no terminal is too low.
const ROWS_MAX: usize = 12;
/// How often spinners and times move.
const TICK: Duration = Duration::from_millis(120);

/// The rows. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Live {
    rows: Arc<Mutex<Rows>>,
    ticker: JoinHandle<()>,
}

#[derive(Debug)]
struct Rows {
    screen: MultiProgress,
    footer: ProgressBar,
    /// In the order in which they began.
    running: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    key: String,
    bar: ProgressBar,
    is_drawn: bool,
}

impl Live {
    /// Draws on stderr.
    pub(super) fn start() -> Self {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        ui::draw_below(Some(screen.clone()));
        let rows = Arc::new(Mutex::new(Rows::new(screen)));
        let ticking = Arc::clone(&rows);
        let ticker = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                lock(&ticking).tick();
            }
        });
        Self { rows, ticker }
    }

    /// Adds a row.
    pub(super) fn begin(&self, key: &str, text: &str) {
        lock(&self.rows).begin(key, &ui::for_stderr(text));
    }

    /// Changes the text of a row, and adds the row where there is none.
    pub(super) fn note(&self, key: &str, text: &str) {
        lock(&self.rows).note(key, &ui::for_stderr(text));
    }

    /// Removes a row.
    pub(super) fn end(&self, key: &str) {
        lock(&self.rows).end(key);
    }

    /// Changes the last row, which is about everything.
    pub(super) fn summarise(&self, text: &str) {
        lock(&self.rows).footer.set_message(ui::for_stderr(text));
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.ticker.abort();
        lock(&self.rows).clear();
        ui::draw_below(None);
    }
}

impl Rows {
    fn new(screen: MultiProgress) -> Self {
        let footer = screen.add(bar("    {elapsed:>4} {wide_msg}"));
        Self {
            screen,
            footer,
            running: Vec::new(),
        }
    }

    fn begin(&mut self, key: &str, text: &str) {
        let bar = bar("  {spinner} {elapsed:>4} {wide_msg}");
        bar.set_message(text.to_owned());
        self.running.push(Row {
            key: key.to_owned(),
            bar,
            is_drawn: false,
        });
        self.fill();
    }

    fn note(&mut self, key: &str, text: &str) {
        match self.running.iter().find(|row| row.key == key) {
            Some(row) => row.bar.set_message(text.to_owned()),
            None => self.begin(key, text),
        }
    }

    fn end(&mut self, key: &str) {
        if let Some(index) = self.running.iter().position(|row| row.key == key) {
            let row = self.running.remove(index);
            row.bar.finish_and_clear();
            self.screen.remove(&row.bar);
            self.fill();
        }
    }

    /// Draws rows as far as there is room.
    fn fill(&mut self) {
        let drawn = self.running.iter().filter(|row| row.is_drawn).count();
        let free = ROWS_MAX.saturating_sub(drawn);
        for row in self.running.iter_mut().filter(|row| !row.is_drawn).take(free) {
            row.bar = self.screen.insert_before(&self.footer, row.bar.clone());
            row.is_drawn = true;
            row.bar.tick();
        }
    }

    fn tick(&self) {
        for row in self.running.iter().filter(|row| row.is_drawn) {
            row.bar.tick();
        }
        self.footer.tick();
    }

    fn clear(&mut self) {
        for row in self.running.drain(..) {
            row.bar.finish_and_clear();
        }
        self.footer.finish_and_clear();
        // Fails only when the terminal is gone.
        let _ = self.screen.clear();
    }
}

/// Returns a bar that is not drawn yet; its clock runs already.
fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates above are valid");
    ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_style(style)
}

/// A poisoned lock only means that another row was not drawn.
fn lock(rows: &Mutex<Rows>) -> std::sync::MutexGuard<'_, Rows> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    fn on(terminal: &InMemoryTerm) -> Rows {
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), 200);
        Rows::new(MultiProgress::with_draw_target(target))
    }

    /// Draws until the terminal shows what is expected: drawing is limited in its rate.
    fn shows(rows: &Rows, terminal: &InMemoryTerm, what: &str, expected: impl Fn(&str) -> bool) {
        for _ in 0..10_000 {
            rows.tick();
            if expected(&terminal.contents()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("{what}:\n{}", terminal.contents());
    }

    #[test]
    fn rows_come_change_and_go_in_place() {
        let terminal = InMemoryTerm::new(30, 60);
        let mut rows = on(&terminal);
        rows.footer.set_message("0 of 2");
        rows.begin("a", "+ table Connections");
        rows.begin("b", "+ role Connect");
        shows(&rows, &terminal, "two rows and a summary", |text| {
            let lines: Vec<_> = text.lines().collect();
            lines.len() == 3 && lines[0].contains("table Connections") && lines[2].contains("0 of 2")
        });
        rows.note("a", "+ table Connections: again in 200 ms");
        shows(&rows, &terminal, "a note", |text| text.contains("again in 200 ms"));
        rows.end("a");
        shows(&rows, &terminal, "one row less", |text| {
            text.lines().count() == 2 && !text.contains("Connections")
        });
        rows.clear();
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn rows_are_cut_to_the_terminal() {
        let terminal = InMemoryTerm::new(30, 40);
        let mut rows = on(&terminal);
        rows.begin("a", &"long ".repeat(40));
        shows(&rows, &terminal, "one line", |text| {
            text.contains("long long") && text.lines().filter(|line| line.contains("long")).count() == 1
        });
    }

    #[test]
    fn what_has_no_room_is_drawn_when_another_row_ends() {
        let terminal = InMemoryTerm::new(30, 60);
        let mut rows = on(&terminal);
        for number in 0..=ROWS_MAX {
            rows.begin(&number.to_string(), &format!("row {number};"));
        }
        let last = format!("row {ROWS_MAX};");
        shows(&rows, &terminal, "all but the last", |text| {
            text.contains(&format!("row {};", ROWS_MAX - 1)) && !text.contains(&last)
        });
        rows.end("0");
        shows(&rows, &terminal, "the last", |text| {
            text.contains(&last) && !text.contains("row 0;")
        });
    }
}
