//! Memory of what was secret.

use core::hint::black_box;

/// Bytes that are overwritten when they are dropped. It is not moved once something is in it: a move leaves a copy.
pub(super) struct Wiped<T: AsMut<[u8]>>(pub(super) T);

impl<const N: usize> Wiped<[u8; N]> {
    pub(super) const fn new() -> Self {
        Self([0; N])
    }
}

impl<T: AsMut<[u8]>> Drop for Wiped<T> {
    fn drop(&mut self) {
        let bytes = self.0.as_mut();
        bytes.fill(0);
        // As if somebody read them: the compiler does not leave it out.
        black_box(bytes);
    }
}
