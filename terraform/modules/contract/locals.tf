locals {
  # Terraform has no sine. The Taylor series with 14 terms is exact to 1e-12 on
  # [-pi, pi], which is a tenth of a millimetre on the ground.
  pi         = 3.141592653589793
  factorials = [1, 1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800, 87178291200, 1307674368000, 20922789888000, 355687428096000, 6402373705728000, 121645100408832000, 2432902008176640000, 51090942171709440000, 1124000727777607680000, 25852016738884976640000, 620448401733239439360000, 15511210043330985984000000, 403291461126605635584000000, 10888869450418352160768000000]

  radians = {
    for name, r in var.regions : name => { lat = r.lat * local.pi / 180, lon = r.lon * local.pi / 180 }
  }
  trig = {
    for name, r in local.radians : name => {
      for axis, x in r : axis => {
        sin = sum([for k in range(14) : (k % 2 == 0 ? 1 : -1) * pow(x, 2 * k + 1) / local.factorials[2 * k + 1]])
        cos = sum([for k in range(14) : (k % 2 == 0 ? 1 : -1) * pow(x, 2 * k) / local.factorials[2 * k]])
      }
    }
  }

  artifacts = {
    for name, r in var.regions : name => (
      var.release == null ? null :
      var.release.next != null && r.wave <= var.release.through_wave ? var.release.next : var.release.current
    )
  }
}
