//! What a knock amounts to, by the door's method; one file for each family of methods.

use crate::door::{Door, Method};
use crate::knock::Port;
use crate::time::Instant;

mod sequence;

pub(crate) use sequence::{Attempt, stamp};

/// The most attempts that run side by side for one source at one door: opening and closing.
pub(crate) const MAX_LINES: usize = 2;

/// What a finished attempt does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Grants the source access.
    Open,
    /// Withdraws the source's grant.
    Close,
}

/// What one knock was to one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It was not the knock expected; whatever had been reached is lost.
    Wrong,
    /// It had been accepted before: a retransmission, or a duplicate made by the network.
    Repeated,
    /// It was the knock expected, and more are to come.
    Advanced,
    /// It was the last knock expected.
    Completed(Effect),
}

/// The ports that the door's knocks can hit, in any order.
pub(crate) fn watched(door: &Door) -> impl Iterator<Item = Port> {
    lines(door)
        .into_iter()
        .flat_map(|(_, steps)| steps.iter().copied())
}

/// How many knocks the attempt on `line` takes in all.
pub(crate) fn length(door: &Door, line: usize) -> usize {
    lines(door).get(line).map_or(0, |(_, steps)| steps.len())
}

/// Whether `port` is the second knock on `line`.
pub(crate) fn is_second(door: &Door, line: usize, port: Port) -> bool {
    lines(door).get(line).and_then(|(_, steps)| steps.get(1)) == Some(&port)
}

/// What the attempt on `line` does when it is finished.
pub(crate) fn effect(door: &Door, line: usize) -> Option<Effect> {
    lines(door).get(line).map(|(effect, _)| *effect)
}

/// Shows the knock to every attempt at the door, in the order of its lines.
pub(crate) fn advance(
    door: &Door,
    attempts: &mut [Attempt; MAX_LINES],
    port: Port,
    now: Instant,
) -> [Progress; MAX_LINES] {
    let mut progress = [Progress::Wrong; MAX_LINES];
    let attempts = attempts.iter_mut().zip(&mut progress);
    for ((effect, steps), (attempt, progress)) in lines(door).into_iter().zip(attempts) {
        *progress = attempt.advance(steps, effect, port, now, door.window);
    }
    progress
}

fn lines(door: &Door) -> [(Effect, &[Port]); MAX_LINES] {
    match &door.method {
        Method::SequenceSeparate { open, close } => [
            (Effect::Open, open.as_slice()),
            (Effect::Close, close.as_slice()),
        ],
    }
}
