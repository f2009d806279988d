//! Links only if nothing in postern-core can panic: the panic handler calls a function that
//! does not exist, as hubris does it. It is never run. What it does not call is not proved.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use postern_core::config::{self, Client, Config};
use postern_core::door::{Door, DoorSet};
use postern_core::engine::Engine;
use postern_core::kernlog::{self, Line};
use postern_core::method::Armed;
use postern_core::packet;
use postern_core::payload::RANDOM;
use postern_core::spa::{Cryptography, Hmac, Verifier, base64};
use postern_core::time::Instant;

unsafe extern "C" {
    safe fn postern_core_can_panic() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    postern_core_can_panic()
}

/// Core's surface, with a state and with input that the compiler cannot know.
#[unsafe(no_mangle)]
extern "C" fn _start(now: u64) {
    let now = Instant::from_millis(now);
    let mut engine = Engine::<4096>::new();
    let engine = black_box(&mut engine);
    let bytes: &[u8] = black_box(&[]);
    if let Ok(knock) = packet::parse(bytes) {
        _ = black_box(engine.handle(now, &knock));
    }
    for line in [kernlog::line(bytes), logged(bytes)] {
        if let Line::Packet(Ok(knock)) = line {
            _ = black_box(engine.handle(now, &knock));
        }
    }
    engine.poll(now);
    black_box(engine.poll_at());
    engine.show_underway(now, &mut |attempt| _ = black_box(attempt));
    let config = Config::parse(bytes, |diagnostic| {
        _ = ufmt::uwrite!(&mut Nowhere, "{}", diagnostic);
    });
    if let Some(config) = config {
        for door in &config.doors {
            _ = config::write(door, &mut Nowhere);
            if let Some(code) = door.method.code() {
                black_box(code.knocks(bytes));
            }
            if let Some(payload) = &door.payload {
                black_box(payload.write(black_box(&[0; RANDOM])));
            }
        }
        _ = black_box(engine.configure(&config.doors));
        datagram(now, bytes, black_box(&config.doors));
    }
    engine.arm(bytes.len(), black_box(Armed::Shut));
    _ = engine.watch(bytes.len(), black_box(&[]));
    black_box(engine.armed(bytes.len()));
    black_box(Client::parse(bytes, |_| {}));
}

/// A datagram for doors of method `spa`.
fn datagram(now: Instant, bytes: &[u8], doors: &[Door]) {
    let mut verifier = Verifier::new();
    let verifier = black_box(&mut verifier);
    verifier.configure(black_box(&[]));
    verifier.set_floor(bytes.len(), now.as_millis());
    verifier.set_budget(black_box(200));
    verifier.seed(black_box([0; 8]));
    let at = black_box(DoorSet::EMPTY);
    if let Ok(knock) = packet::parse(bytes) {
        let unix = black_box(Some(0));
        _ = black_box(verifier.verify(now, unix, &knock, doors, at, &mut Unknown));
    }
    for (refusal, count) in verifier.refusals().iter() {
        _ = ufmt::uwrite!(&mut Nowhere, "{} {} {}", refusal, refusal.name(), count);
    }
    base64::encode(bytes).for_each(|symbol| _ = black_box(symbol));
    _ = black_box(base64::decode([bytes, &[]], &mut black_box([0; 100])));
}

/// Cryptography of which nobody knows what it says.
struct Unknown;

impl Cryptography for Unknown {
    fn is_authentic(&mut self, door: usize, hmac: Hmac, text: [&[u8]; 2], tag: &[u8]) -> bool {
        black_box((door, hmac, text, tag));
        black_box(true)
    }

    fn decrypt(&mut self, door: usize, salt: [u8; 8], blocks: &mut [[u8; 16]]) -> bool {
        black_box((door, salt));
        black_box(blocks);
        black_box(true)
    }
}

fn logged(bytes: &[u8]) -> Line<'_> {
    kernlog::record(bytes).map_or(Line::Foreign, |(_, line)| line)
}

struct Nowhere;

impl ufmt::uWrite for Nowhere {
    type Error = ();

    fn write_str(&mut self, text: &str) -> Result<(), ()> {
        black_box(text);
        Ok(())
    }
}
