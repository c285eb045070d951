"""AI providers behind one interface: an adapter translates one provider's wire into neutral deltas."""
