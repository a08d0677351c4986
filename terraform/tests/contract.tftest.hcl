# What modules/contract takes, and what it refuses.

run "normalises" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = {
      us-east = { lat = 39.04, lon = -77.49 }
      eu-west = { lat = 53.35, lon = -6.26, wave = 0, capacity = { min = 1, max = 2 } }
    }
  }
  assert {
    condition     = output.regions["us-east"].wave == 1 && output.regions["us-east"].capacity.min == 2 && output.regions["us-east"].capacity.max == 6
    error_message = "defaults: wave 1, 2 to 6 nodes"
  }
  assert {
    condition     = output.regions["eu-west"].name == "eu-west" && output.regions["us-east"].artifact == null
    error_message = "name and artifact"
  }
  assert {
    condition     = jsonencode(output.waves) == jsonencode({ "0" = ["eu-west"], "1" = ["us-east"] })
    error_message = "waves, in order"
  }
}

# Points whose place on the unit sphere is known without a sine.
run "places_on_the_sphere" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = {
      origin   = { lat = 0, lon = 0 }
      east     = { lat = 0, lon = 90 }
      antipode = { lat = 0, lon = 180 }
      dateline = { lat = 0, lon = -180 }
      south    = { lat = -90, lon = 12 }
      north45  = { lat = 45, lon = 0 }
    }
  }
  assert {
    condition = jsonencode({ for n, r in output.regions : n => r.xyz }) == jsonencode({
      origin = [1, 0, 0], east = [0, 1, 0], antipode = [-1, 0, 0], dateline = [-1, 0, 0], south = [0, 0, -1], north45 = [0.707107, 0, 0.707107]
    })
    error_message = "unit vectors: ${jsonencode({ for n, r in output.regions : n => r.xyz })}"
  }
}

run "a_rollout_goes_wave_by_wave" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = {
      canary = { lat = 1, lon = 1, wave = 0 }
      second = { lat = 2, lon = 2, wave = 1 }
      rest   = { lat = 3, lon = 3, wave = 2 }
    }
    release = {
      current      = { url = "https://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
      next         = { url = "https://dl.example.net/2.tar.gz", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
      through_wave = 1
    }
  }
  assert {
    condition     = [for n in ["canary", "second", "rest"] : substr(output.regions[n].artifact.sha256, 0, 1)] == ["2", "2", "1"]
    error_message = "waves up to through_wave have the next artifact, the others the current one"
  }
}

run "a_rollout_that_has_not_begun" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { canary = { lat = 1, lon = 1, wave = 0 } }
    release = {
      current = { url = "https://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
      next    = { url = "https://dl.example.net/2.tar.gz", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
    }
  }
  assert {
    condition     = substr(output.regions["canary"].artifact.sha256, 0, 1) == "1"
    error_message = "nobody has the next artifact before through_wave says so"
  }
}

run "refuses_no_region" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = {}
  }
  expect_failures = [var.regions]
}

run "refuses_an_upper_case_name" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { "EU-west" = { lat = 1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_a_name_with_a_space" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { "eu west" = { lat = 1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_a_name_with_two_hyphens" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { "eu--west" = { lat = 1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_a_name_that_starts_with_a_digit" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { "1eu" = { lat = 1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_a_name_with_a_dot" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { "eu.west" = { lat = 1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_a_name_of_33_characters" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" = { lat = 1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_lat_above_90" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 90.1, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_lat_below_minus_90" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = -91, lon = 1 } }
  }
  expect_failures = [var.regions]
}

run "refuses_lon_out_of_range" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 180.5 } }
  }
  expect_failures = [var.regions]
}

run "refuses_wave_10" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1, wave = 10 } }
  }
  expect_failures = [var.regions]
}

run "refuses_half_a_wave" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1, wave = 0.5 } }
  }
  expect_failures = [var.regions]
}

run "refuses_max_below_min" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1, capacity = { min = 3, max = 2 } } }
  }
  expect_failures = [var.regions]
}

run "refuses_an_empty_region" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1, capacity = { min = 0, max = 2 } } }
  }
  expect_failures = [var.regions]
}

run "refuses_plain_http" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1 } }
    release = { current = { url = "http://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" } }
  }
  expect_failures = [var.release]
}

run "refuses_a_short_sha256" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1 } }
    release = { current = { url = "https://dl.example.net/1.tar.gz", sha256 = "abc" } }
  }
  expect_failures = [var.release]
}

run "refuses_an_upper_case_sha256" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1 } }
    release = { current = { url = "https://dl.example.net/1.tar.gz", sha256 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" } }
  }
  expect_failures = [var.release]
}

run "refuses_a_rollout_of_nothing" {
  command = plan
  module {
    source = "../modules/contract"
  }
  variables {
    regions = { a = { lat = 1, lon = 1 } }
    release = { current = { url = "https://dl.example.net/1.tar.gz", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }, through_wave = 1 }
  }
  expect_failures = [var.release]
}
