//! `vansire sim` as a shell sees it.
#![cfg(feature = "app")]

use std::process::{Command, Output};

fn sim(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vansire"))
        .arg("sim")
        .args(arguments.split_whitespace())
        .env_clear()
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[cfg(feature = "sim")]
#[test]
fn a_seed_is_told_and_so_is_a_part_of_its_plan() {
    let story = sim("--seed 3");
    let told = text(&story.stdout);
    assert_eq!(story.status.code(), Some(0), "{told}");
    assert!(told.contains("everything is well again") && told.contains("\nseed 3 held for "), "{told}");
    assert!(told.contains("  [2] "), "{told}");
    assert_eq!(sim("--seed 3").stdout, story.stdout, "the same again");
    let quiet = sim("--seed 3 -q");
    assert_eq!(text(&quiet.stdout).lines().count(), 1, "{}", text(&quiet.stdout));
    assert!(told.ends_with(text(&quiet.stdout)), "{}", text(&quiet.stdout));
    let part = sim("--seed 3 --keep 2,4");
    let told = text(&part.stdout);
    assert!(told.contains("  [2] ") && told.contains("  [4] ") && !told.contains("  [3] "), "{told}");
    assert!(told.contains(" with 2 steps: "), "{told}");
}

#[cfg(feature = "sim")]
#[test]
fn many_seeds_are_one_line() {
    let many = sim("--seeds 5..9");
    let told = text(&many.stdout);
    assert_eq!((many.status.code(), told.lines().count()), (Some(0), 1), "{told}");
    assert!(told.starts_with("seeds 5..9 held for "), "{told}");
}

#[cfg(not(feature = "sim"))]
#[test]
fn a_build_without_the_simulation_names_the_feature() {
    let answer = sim("--seed 3");
    assert_eq!(answer.status.code(), Some(1));
    assert!(text(&answer.stderr).contains("build with the features `app` and `sim`"), "{}", text(&answer.stderr));
}

#[test]
fn slips_are_refused_and_help_is_not() {
    for (arguments, code) in [
        ("--seed x", 2),
        ("--seeds 3", 2),
        ("--seeds 3..3", 2),
        ("--seed 1 --seeds 1..2", 2),
        ("--keep", 2),
        ("--help", 0),
    ] {
        assert_eq!(sim(arguments).status.code(), Some(code), "{arguments}");
    }
    assert!(text(&sim("--help").stdout).contains("Exit codes: 0 all promises were kept"));
}
