//! The console's shell where there is no busybox: words, quotes, `>`, and the few commands that
//! the tests type besides Postern's own.

use std::fs::{self, File};
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};

use crate::sys;

/// As sh(1) has it.
const NOT_FOUND: u8 = 127;

/// Carries out line after line, and says in its prompt how the last one ended.
pub(crate) fn run() -> ExitCode {
    let mut status = 0;
    let mut lines = io::stdin().lock().lines();
    loop {
        print!("[{status}]# ");
        let _ = io::stdout().flush();
        match lines.next() {
            Some(Ok(line)) => status = carry_out(&line).unwrap_or_else(complain),
            _ => return ExitCode::from(status),
        }
    }
}

fn complain(error: io::Error) -> u8 {
    eprintln!("sh: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => 1,
    }
}

fn carry_out(line: &str) -> io::Result<u8> {
    let mut words = words(line)?;
    let redirected = match words.iter().position(|word| word == ">") {
        Some(at) => words.drain(at..).nth(1),
        None => None,
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [name, arguments @ ..] = words.as_slice() else {
        return Ok(0);
    };
    let output = redirected.map(File::create).transpose()?;
    match *name {
        "cat" => cat(arguments, output),
        "cp" => copy(arguments),
        "echo" => echo(arguments, output),
        "kill" => kill(arguments),
        "sync" => sync(),
        _ => start(name, arguments, output),
    }
}

/// Splits at blanks that no quotes surround.
fn words(line: &str) -> io::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '\r') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(io::Error::other("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn start(name: &str, arguments: &[&str], output: Option<File>) -> io::Result<u8> {
    let mut command = Command::new(name);
    command.args(arguments);
    if let Some(output) = output {
        command.stdout(Stdio::from(output));
    }
    let ended = command.status()?;
    let signal = || ended.signal().map(|signal| 128 + signal);
    Ok(ended
        .code()
        .or_else(signal)
        .and_then(|status| u8::try_from(status).ok())
        .unwrap_or(u8::MAX))
}

fn cat(paths: &[&str], output: Option<File>) -> io::Result<u8> {
    let mut output = writer(output);
    for path in paths {
        // Not by its length: files in /proc have none.
        io::copy(&mut File::open(path)?, &mut output)?;
    }
    Ok(0)
}

fn copy(paths: &[&str]) -> io::Result<u8> {
    let [from, to] = paths else {
        return Err(io::Error::other("cp FROM TO"));
    };
    fs::copy(from, to)?;
    Ok(0)
}

fn echo(words: &[&str], output: Option<File>) -> io::Result<u8> {
    writeln!(writer(output), "{}", words.join(" "))?;
    Ok(0)
}

fn kill(words: &[&str]) -> io::Result<u8> {
    let (signal, pid) = match words {
        [pid] => ("-15", *pid),
        [signal, pid] => (*signal, *pid),
        _ => return Err(io::Error::other("kill [-NUMBER] PID")),
    };
    let number = |text: &str| text.parse::<i32>().map_err(io::Error::other);
    sys::kill(number(pid)?, -number(signal)?)?;
    Ok(0)
}

fn sync() -> io::Result<u8> {
    sys::sync();
    Ok(0)
}

fn writer(output: Option<File>) -> Box<dyn io::Write> {
    match output {
        Some(file) => Box::new(file),
        None => Box::new(io::stdout()),
    }
}
