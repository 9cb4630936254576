//! The virtual driver.
