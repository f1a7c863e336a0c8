"""Tables that people bring: files of any usual kind as columns, before anybody says what the columns mean."""
