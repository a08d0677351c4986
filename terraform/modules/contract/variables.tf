variable "regions" {
  description = "Every region by name: where it is (degrees, WGS 84), in which rollout wave it is, how many nodes it may have."
  type = map(object({
    lat  = number
    lon  = number
    wave = optional(number, 1)
    capacity = optional(object({
      min = number
      max = number
    }), { min = 2, max = 6 })
  }))
  nullable = false

  validation {
    condition     = length(var.regions) >= 1 && length(var.regions) <= 250
    error_message = "regions: expected 1 to 250 regions, got ${length(var.regions)}."
  }
  validation {
    condition     = length([for n in keys(var.regions) : n if !can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", n)) || length(n) > 32]) == 0
    error_message = "regions: names are lower-case letters, digits and single hyphens, start with a letter, 32 characters at most; these are not: ${join(", ", [for n in keys(var.regions) : n if !can(regex("^[a-z][a-z0-9]*(-[a-z0-9]+)*$", n)) || length(n) > 32])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : r.lat >= -90 && r.lat <= 90])
    error_message = "lat: expected degrees from -90 to 90 in ${join(", ", [for n, r in var.regions : n if r.lat < -90 || r.lat > 90])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : r.lon >= -180 && r.lon <= 180])
    error_message = "lon: expected degrees from -180 to 180 in ${join(", ", [for n, r in var.regions : n if r.lon < -180 || r.lon > 180])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : r.wave >= 0 && r.wave <= 9 && floor(r.wave) == r.wave])
    error_message = "wave: expected a whole number from 0 (canary) to 9 in ${join(", ", [for n, r in var.regions : n if r.wave < 0 || r.wave > 9 || floor(r.wave) != r.wave])}."
  }
  validation {
    condition     = alltrue([for r in values(var.regions) : r.capacity.min >= 1 && r.capacity.max >= r.capacity.min && r.capacity.max <= 1000 && floor(r.capacity.min) == r.capacity.min && floor(r.capacity.max) == r.capacity.max])
    error_message = "capacity: expected whole numbers with 1 <= min <= max <= 1000 in ${join(", ", [for n, r in var.regions : n if !(r.capacity.min >= 1 && r.capacity.max >= r.capacity.min && r.capacity.max <= 1000 && floor(r.capacity.min) == r.capacity.min && floor(r.capacity.max) == r.capacity.max)])}."
  }
}

variable "release" {
  description = "What runs where: the artifact in force and, during a rollout, the next one and the last wave that has it (-1: none yet). Null where the caller only wants places."
  type = object({
    current = object({
      url    = string
      sha256 = string
    })
    next = optional(object({
      url    = string
      sha256 = string
    }))
    through_wave = optional(number, -1)
  })
  default = null

  validation {
    condition     = var.release == null ? true : alltrue([for a in [var.release.current, var.release.next] : a == null ? true : can(regex("^(https|file)://[^\\s]+$", a.url))])
    error_message = "release: url must be https:// or file:// (a path on the node) without white space."
  }
  validation {
    condition     = var.release == null ? true : alltrue([for a in [var.release.current, var.release.next] : a == null ? true : can(regex("^[0-9a-f]{64}$", a.sha256))])
    error_message = "release: sha256 must be 64 lower-case hexadecimal digits."
  }
  validation {
    condition     = var.release == null ? true : var.release.through_wave >= -1 && var.release.through_wave <= 9 && floor(var.release.through_wave) == var.release.through_wave
    error_message = "release: through_wave must be a whole number from -1 (nobody) to 9."
  }
  validation {
    condition     = var.release == null ? true : var.release.next != null || var.release.through_wave == -1
    error_message = "release: through_wave says who has the next artifact, but next is not set."
  }
}
