/** Version that internal messages and states are written with; they are read from one below to one above. @see design §5 "Schemas" */
export const WIRE_VERSION = 1;
