module cairn/tests/interop/config/toml

go 1.22

require github.com/toml-lang/toml-test/v2 v2.2.0
