package admin

// routes registers everything the API does.
func (a *API) routes() {
	rooms[Advertiser, unfiltered](a, &advertisers)
	rooms[Campaign, ofAdvertiser](a, &campaigns)
	rooms[Flight, ofCampaign](a, &flights)
	rooms[Ad, ofFlight](a, &ads)
	rooms[AdType, unfiltered](a, &adTypes)
	rooms[PublisherGroup, unfiltered](a, &publisherGroups)
	rooms[Publisher, unfiltered](a, &publishers)
	rooms[Topic, unfiltered](a, &topics)
	rooms[GeoRegion, unfiltered](a, &geoRegions)
	a.flightRooms()
	a.refundRooms()
	a.ledgerRooms()
	a.holderRooms()
	a.accessRooms()
	a.catalogRooms()
	a.reportRooms()
	a.seriesRooms()
	a.jobRooms()
	a.docsRooms()
}
