package sample

// Geo regions: the names that advertisers of developers' tools buy by. The
// first eight do not overlap; eu and dach cut across them.
var geoRegions = []GeoRegion{
	{"us-ca", "United States and Canada", []string{"CA", "US"}},
	{"western-europe", "Western Europe", []string{
		"AD", "AT", "BE", "CH", "DE", "DK", "ES", "FI", "FR", "GB", "GI", "IE", "IS", "IT", "LI", "LU", "MC", "MT", "NL",
		"NO", "PT", "SE", "SM",
	}},
	{"eastern-europe", "Eastern Europe", []string{
		"AL", "BA", "BG", "CY", "CZ", "EE", "GR", "HR", "HU", "LT", "LV", "MD", "ME", "MK", "PL", "RO", "RS", "SI", "SK", "UA",
	}},
	{"aus-nz", "Australia and New Zealand", []string{"AU", "NZ"}},
	{"wider-apac", "Wider Asia and Pacific", []string{"HK", "ID", "JP", "KR", "MY", "PH", "SG", "TH", "TW", "VN"}},
	{"latin-america", "Latin America", []string{
		"AR", "BO", "BR", "CL", "CO", "CR", "DO", "EC", "GT", "HN", "JM", "MX", "NI", "PA", "PE", "PR", "PY", "SV", "TT", "UY", "VE",
	}},
	{"africa", "Africa", []string{
		"AO", "BJ", "BW", "CI", "CM", "DZ", "EG", "ET", "GH", "KE", "MA", "MG", "MU", "MZ", "NA", "NG", "RW", "SN", "TN", "TZ",
		"UG", "ZA", "ZM", "ZW",
	}},
	{"south-asia", "South Asia", []string{"BD", "BT", "IN", "LK", "MV", "NP", "PK"}},
	{"eu", "European Union", []string{
		"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT",
		"NL", "PL", "PT", "RO", "SE", "SI", "SK",
	}},
	{"dach", "Germany, Austria and Switzerland", []string{"AT", "CH", "DE"}},
	{"exclude", "Places that most paid campaigns leave out", []string{"BY", "CU", "IR", "KP", "RU", "SY"}},
}

var topics = []Topic{
	{"data-science", "Data science", []string{"data-science", "jupyter", "machine-learning", "numpy", "pandas", "pytorch", "r", "statistics", "tensorflow"}},
	{"backend-web", "Backend web", []string{"api", "backend", "django", "fastapi", "flask", "go", "graphql", "postgres", "rails", "rest"}},
	{"frontend-web", "Frontend web", []string{"css", "frontend", "html", "javascript", "react", "svelte", "typescript", "vue", "webassembly"}},
	{"security-privacy", "Security and privacy", []string{"authentication", "cryptography", "oauth", "privacy", "security", "tls"}},
	{"devops", "Operations", []string{"ansible", "ci", "containers", "devops", "docker", "kubernetes", "linux", "monitoring", "terraform"}},
	{"python", "Python", []string{"asyncio", "pip", "pytest", "python", "sphinx"}},
	{"game-dev", "Game development", []string{"game-dev", "godot", "opengl", "shaders", "unity"}},
	{"blockchain", "Blockchain", []string{"blockchain", "ethereum", "solidity"}},
	{"techwriting", "Technical writing", []string{"documentation", "markdown", "restructuredtext", "style-guide", "techwriting"}},
}
