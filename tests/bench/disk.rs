//! What a program takes of a disk, with the libraries that it is linked with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::agent;
use postern_tests::process::run;
use postern_tests::scratch::Scratch;

use crate::results::Results;

/// Adds up the bytes, and names the packages of Debian's that they are in.
pub(crate) fn measure(results: &mut Results) {
    // As packages have programs.
    let scratch = Scratch::new();
    let postern = scratch.join("postern");
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&postern).arg(agent::program());
    run(&mut strip, "").ok();
    let programs = [
        ("postern", postern),
        ("knockd", "/usr/sbin/knockd".into()),
        ("fwknopd", "/usr/sbin/fwknopd".into()),
    ];
    for (name, program) in programs {
        let libraries = libraries(&program);
        let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len()) as f64;
        let own = size(&program);
        let with: f64 = own + libraries.iter().map(|path| size(path)).sum::<f64>();
        results.add("disk", "program", name, "bytes", vec![Some(own)]);
        results.add("disk", "with libraries", name, "bytes", vec![Some(with)]);
        let mut packages: Vec<String> = match name {
            "postern" => {
                let of_libraries = libraries.iter().filter_map(|path| package_of(path));
                of_libraries.chain(named_by_us()).collect()
            }
            "knockd" => dependencies("knockd"),
            _ => dependencies("fwknop-server"),
        };
        packages.sort();
        packages.dedup();
        packages.retain(|package| package != "libc6");
        let count = packages.len() as f64;
        results.add(
            "packages",
            packages.join(" "),
            name,
            "beside libc6",
            vec![Some(count)],
        );
    }
}

/// The libraries that a program is linked with, however deep, but for libc's and the linker.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listing = run(Command::new("ldd").arg(program), "").stdout;
    let paths = listing.lines().filter_map(|line| {
        let (name, path) = line.split_once(" => ")?;
        let of_libc = [
            "libc.so",
            "libm.so",
            "libdl.so",
            "libpthread.so",
            "librt.so",
        ];
        let is_libc = of_libc.iter().any(|libc| name.trim().starts_with(libc));
        let path = path.split_whitespace().next()?;
        (!is_libc).then(|| fs::canonicalize(path).ok())?
    });
    paths.collect()
}

/// The package that a file is in, wherever it was installed before `/lib` became `/usr/lib`.
fn package_of(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    [path, path.strip_prefix("/usr")?].iter().find_map(|path| {
        let said = run(Command::new("dpkg-query").args(["--search", path]), "");
        let (package, _) = said.stdout.split_once(':')?;
        Some(package.to_owned())
    })
}

/// What our package depends on beside what its libraries are in.
fn named_by_us() -> impl Iterator<Item = String> {
    let manifest = include_str!("../../agent/Cargo.toml");
    let lines = manifest.lines();
    let named = lines.filter_map(|line| line.strip_prefix("depends = \"")?.strip_suffix('"'));
    let names = named.flat_map(|named| named.split(", "));
    names.filter(|name| *name != "$auto").map(str::to_owned)
}

/// What an installed package depends on, as it says itself.
fn dependencies(package: &str) -> Vec<String> {
    let query = ["--show", "--showformat", "${Depends}", package];
    let said = run(Command::new("dpkg-query").args(query), "").stdout;
    let names = said.split(", ").filter_map(|one| one.split(' ').next());
    names.map(str::to_owned).collect()
}
