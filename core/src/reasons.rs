//! Reasons why something is refused, and how often each was one.

use core::marker::PhantomData;

/// One reason of several.
pub trait Reason: Copy + 'static {
    /// Every one, in the order of their numbers.
    fn all() -> &'static [Self];

    /// Its place among all.
    fn number(self) -> usize;

    /// The reason as programs read it.
    fn name(self) -> &'static str;
}

/// How often each of `N` reasons was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts<R, const N: usize> {
    counts: [u64; N],
    of: PhantomData<R>,
}

impl<R: Reason, const N: usize> Counts<R, N> {
    /// None yet.
    pub const NONE: Self = Self {
        counts: [0; N],
        of: PhantomData,
    };

    #[cfg(test)]
    pub(crate) const fn each(times: u64) -> Self {
        Self {
            counts: [times; N],
            of: PhantomData,
        }
    }

    /// Counts one more.
    pub fn count(&mut self, reason: R) {
        if let Some(count) = self.counts.get_mut(reason.number()) {
            *count = count.saturating_add(1);
        }
    }

    /// Each reason, and how often it was one.
    pub fn iter(&self) -> impl Iterator<Item = (R, u64)> {
        R::all().iter().copied().zip(self.counts.iter().copied())
    }

    /// The name of each reason, and how often it was one.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = R::all().iter().zip(&self.counts);
        counts.map(|(reason, times)| (reason.name(), *times))
    }

    /// How often there was a reason.
    pub fn total(&self) -> u64 {
        sum(&self.counts)
    }
}

/// One copy for all.
fn sum(counts: &[u64]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

impl<R: Reason, const N: usize> Default for Counts<R, N> {
    fn default() -> Self {
        Self::NONE
    }
}
