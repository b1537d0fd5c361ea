//! Everything that is printed goes through here: data to stdout, all else to stderr.
//!
//! Colours are only written where the stream shows them: anstream honours `NO_COLOR`, `CLICOLOR_FORCE`, pipes and CI.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::failure::{Exit, Failure};

/// Emphasis for names and headings.
pub(crate) const BOLD: Style = Style::new().bold();
/// For what matters least.
pub(crate) const DIM: Style = Style::new().dimmed();
/// For what is made, and for success.
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
/// For what changes, and for warnings.
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// For what goes, and for errors.
pub(crate) const RED: Style = AnsiColor::Red.on_default();

/// Returns `text` in a style.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// What else has to do with the terminal when something is printed.
struct Screen {
    /// What is drawn below everything that is printed.
    drawn: Option<MultiProgress>,
    /// Messages that wait until a question has been answered.
    held: Option<Vec<String>>,
}

static SCREEN: Mutex<Screen> = Mutex::new(Screen {
    drawn: None,
    held: None,
});

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is drawn below whatever is printed from now on; `None` when nothing is drawn any more.
pub(crate) fn draw_below(drawn: Option<MultiProgress>) {
    screen().drawn = drawn;
}

/// Ends all drawing for good, before the process leaves at once.
pub(crate) fn stop_drawing() {
    let mut screen = screen();
    screen.held = None;
    if let Some(drawn) = screen.drawn.take() {
        // Fails only when the terminal is gone.
        let _ = drawn.clear();
        drawn.set_draw_target(ProgressDrawTarget::hidden());
    }
}

impl Screen {
    /// Prints while nothing is drawn.
    fn print<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.drawn {
            Some(drawn) => drawn.suspend(print),
            None => print(),
        }
    }

    fn say(&self, text: impl std::fmt::Display) {
        // A closed stderr is no reason to stop.
        self.print(|| {
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        });
    }
}

/// Writes one line, or several, of data to stdout.
///
/// # Errors
/// When nobody reads it any more.
pub(crate) fn data(text: impl std::fmt::Display) -> Result<(), Failure> {
    let printed = screen().print(|| writeln!(anstream::stdout().lock(), "{text}"));
    printed.map_err(|error| Failure::new("cannot write to stdout").because(error))
}

/// Returns once stdout is a pipe that nobody reads any more; never, where that cannot be known.
pub(crate) async fn nobody_reads() {
    use std::os::fd::AsFd;

    use tokio::io::Interest;
    use tokio::net::unix::pipe::Sender;

    let stdout = std::io::stdout().as_fd().try_clone_to_owned();
    // Unchecked: it stays in blocking mode, which others who write there expect. Files cannot be waited for.
    if let Ok(watched) = stdout.and_then(Sender::from_owned_fd_unchecked)
        && watched.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Writes JSON as one line of data to stdout.
///
/// # Errors
/// As [`data`].
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    data(value)
}

/// Writes a message to stderr; after the answer, while a question is open.
pub(crate) fn say(text: impl std::fmt::Display) {
    let mut screen = screen();
    match &mut screen.held {
        Some(held) => held.push(text.to_string()),
        None => screen.say(text),
    }
}

/// Returns `text` with colours only where stderr shows them, for those who write there themselves.
pub(crate) fn for_stderr(text: &str) -> String {
    colored_for(text, anstream::AutoStream::choice(&std::io::stderr()))
}

/// Returns `text` with colours only where stdout shows them, for those who write there themselves.
pub(crate) fn for_stdout(text: &str) -> String {
    colored_for(text, anstream::AutoStream::choice(&std::io::stdout()))
}

fn colored_for(text: &str, choice: anstream::ColorChoice) -> String {
    match choice {
        anstream::ColorChoice::Never => anstream::adapter::strip_str(text).to_string(),
        anstream::ColorChoice::Auto | anstream::ColorChoice::Always | anstream::ColorChoice::AlwaysAnsi => {
            text.to_owned()
        }
    }
}

/// Returns whether messages go to a person's terminal that can redraw its lines: not to a file, CI or a dumb terminal.
pub(crate) fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("CI").is_none()
        && std::env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// Shows a failure.
pub(crate) fn report(failure: Failure) {
    if failure.exit() == Exit::Interrupted {
        say(paint(YELLOW, failure));
    } else {
        say(format!("{:?}", miette::Report::new(failure)).trim_end());
    }
}

/// Makes reports fit the terminal and keeps commands in one piece.
pub(crate) fn install_report_handler() {
    // Fails only when a handler is installed already, and nobody else does.
    let _ = miette::set_hook(Box::new(|_| {
        let mut options = miette::MietteHandlerOpts::new()
            .break_words(false)
            .wrap_lines(false)
            .context_lines(1);
        if !is_interactive() {
            options = options.color(false);
        }
        Box::new(options.build())
    }));
}

/// Asks a yes-or-no question on the terminal; anything but `y` or `yes` is no.
///
/// # Errors
/// [`Exit::Usage`] where nobody can be asked.
pub(crate) async fn confirm(question: &str) -> Result<bool, Failure> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(
            Failure::usage(format!("{question} Nobody can be asked: this is no terminal"))
                .help("look at the plan above, then run the same command with --yes"),
        );
    }
    let _question = Question::open(question);
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    })
    .await;
    let answer = answer.ok().and_then(Result::ok).unwrap_or_default();
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// An open question: nothing else is drawn or printed below it. Dropping it goes on with what was to be said.
struct Question;

impl Question {
    fn open(question: &str) -> Self {
        let mut screen = screen();
        screen.held = Some(Vec::new());
        if let Some(drawn) = &screen.drawn {
            // Fails only when the terminal is gone.
            let _ = drawn.clear();
            drawn.set_draw_target(ProgressDrawTarget::hidden());
        }
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "{question} [y/N] ");
        let _ = stderr.flush();
        Self
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        let mut screen = screen();
        if let Some(drawn) = &screen.drawn {
            drawn.set_draw_target(ProgressDrawTarget::stderr());
        }
        for text in screen.held.take().unwrap_or_default() {
            screen.say(text);
        }
    }
}

/// Returns a duration for people: `340 ms`, `2.1 s`, `1 min 5 s`.
pub(crate) fn duration(elapsed: std::time::Duration) -> String {
    match elapsed.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", elapsed.as_secs_f64()),
        _ => format!("{} min {} s", elapsed.as_secs() / 60, elapsed.as_secs() % 60),
    }
}

/// Returns a size for people: `812 kB`, `4.3 MB`.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_millis(340)), "340 ms");
        assert_eq!(duration(Duration::from_millis(2_140)), "2.1 s");
        assert_eq!(duration(Duration::from_secs(65)), "1 min 5 s");
        assert_eq!(size(812), "812 B");
        assert_eq!(size(812_000), "812 kB");
        assert_eq!(size(4_350_000), "4.3 MB");
    }
}
