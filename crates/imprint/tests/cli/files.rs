//! Files that people write: settings and fleets.

use crate::support::{Place, THERMO};

#[test]
fn a_mistyped_setting_is_refused_with_the_nearest_known_one() {
    let place = Place::new();
    place.edit("imprint/imprint.toml", "\nhttps = ", "\nhtps = ");
    for command in [&["status"][..], &["serve"]] {
        let refusal = place.refused(command);
        assert!(refusal.contains("imprint.toml, line 1"), "{refusal}");
        assert!(
            refusal.contains("unknown key `htps`; did you mean `https`?"),
            "{refusal}"
        );
    }
}

#[test]
fn a_mistyped_key_in_a_fleet_file_changes_nothing() {
    let place = Place::new();
    let file = place.write(
        "fleet.toml",
        "[[product]]\nname = \"a\"\n\n[[product]]\nname = \"b\"\nallowlst = true\n",
    );
    let refusal = place.refused(&["apply", &file]);
    assert!(
        refusal.contains(
            "line 6, column 1: unknown key `allowlst` in [[product]]; did you mean `allowlist`?"
        ),
        "{refusal}"
    );
    let file = place.write("fleet.toml", "[[product]]\nname = \"cacerts\"\n");
    let refusal = place.refused(&["apply", &file]);
    assert!(
        refusal.contains("this is the name of an EST operation"),
        "{refusal}"
    );
    assert_eq!(place.json(&["status"])["products"], serde_json::json!([]));
}

#[test]
fn a_difference_is_shown_before_it_is_made() {
    let place = Place::with_fleet(THERMO);
    let changed = format!("{THERMO}allowlist = true\n[product.certificate]\nlifetime_days = 30\n");
    let file = place.write("fleet.toml", &changed);
    let difference = "~ product thermo (changed)\n    \
        allowlist = true (was false)\n    certificate.lifetime_days = 30 (was 365)\n";
    let dry = place.ok(&["apply", &file, "--dry-run"]);
    assert_eq!(
        dry,
        format!("{difference}Dry run: nothing has been changed.")
    );
    let again = place.ok(&["apply", &file, "--dry-run"]);
    assert_eq!(dry, again);
    assert!(place.ok(&["apply", &file]).starts_with(difference));
    assert_eq!(place.ok(&["apply", &file]), "Nothing differs.");
    // A product that the file does not name stays.
    let other = place.write("other.toml", "[[product]]\nname = \"valve\"\n");
    place.ok(&["apply", &other]);
    assert_eq!(
        place.json(&["status"])["products"],
        serde_json::json!(["thermo", "valve"])
    );
}

#[test]
fn a_directory_that_is_not_there_is_named_with_what_to_do() {
    let place = Place::empty();
    let refusal = place.refused(&["status"]);
    assert!(
        refusal.contains("There is no Imprint directory at"),
        "{refusal}"
    );
    assert!(refusal.contains("imprint init"), "{refusal}");
    let refusal = place.refused(&["status", "--json"]);
    let view: serde_json::Value = serde_json::from_str(&refusal).unwrap();
    assert_eq!(view["code"], "directory-missing");
}

#[test]
fn wrong_usage_ends_with_two() {
    let place = Place::new();
    for arguments in [
        &["tokn"][..],
        &["token", "new"],
        &[
            "token",
            "new",
            "--product",
            "thermo",
            "--expires",
            "tomorrow",
        ],
        &["token", "new", "--product", "thermo", "--count", "0"],
        &[
            "token",
            "new",
            "--product",
            "thermo",
            "--count",
            "2",
            "--hardware",
            "custom:A",
        ],
        &["allow", "add", "--product", "thermo"],
        &["device", "issue"],
    ] {
        assert_eq!(place.run(arguments).code, 2, "{arguments:?}");
    }
}
