# Pure: no resources. The region map comes in, is refused or normalised, and goes out.
