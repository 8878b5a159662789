// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A lock for Safes: transaction guard (Safe 1.3 on) and module guard (Safe 1.5 on) in one
/// @notice Armed, the guard only keeps itself in place: no delegatecall, and of the Safe's own functions only those that
///         manage owners and disable modules. Locked, no module acts, and what the guardian alone may carry, without a
///         refund, is owner management, the skipping of what a delay module holds back (`setTxNonce`), and payments of
///         the coin or of a token to the Safe's one destination. Only the guardian locks, lifts and names destinations;
///         only the recovery address, which can do nothing else, appoints another guardian. Owners leave the guard by
///         announcing it LEAVE_DELAY before.
/// @dev One instance serves every Safe. It holds no immutables, so its code is the same everywhere and can be compared.
contract PortcullisGuard {
    uint256 public constant LEAVE_DELAY = 3 days;
    uint256 public constant LEAVE_WINDOW = 7 days;
    uint256 public constant DESTINATION_DELAY = 1 days;

    struct Destination {
        address present;
        address next;
        uint256 from;
    }

    address public guardian;
    address public recovery;
    mapping(address safe => bool) public locked;
    mapping(address safe => uint256) public leaveFrom;
    mapping(address safe => Destination) private destinations;

    event Locked(address indexed safe);
    event Lifted(address indexed safe);
    event LeaveAnnounced(address indexed safe, uint256 from);
    event DestinationNamed(address indexed safe, address indexed destination, uint256 from);
    event GuardianAppointed(address indexed guardian);

    error OnlyGuardian();
    error OnlyRecovery();
    error ZeroAddress();
    error DestinationRefused();
    error SafeIsLocked();
    error DelegatecallRefused();
    error FunctionRefused(bytes4 selector);
    error RefundRefused();

    constructor(address guardian_, address recovery_) {
        if (guardian_ == address(0) || recovery_ == address(0)) revert ZeroAddress();
        guardian = guardian_;
        recovery = recovery_;
    }

    modifier onlyGuardian() {
        if (msg.sender != guardian) revert OnlyGuardian();
        _;
    }

    /// @notice Lets nothing leave `safe`, and takes back what its owners announced. Repeating it changes nothing.
    function lock(address safe) external onlyGuardian {
        locked[safe] = true;
        leaveFrom[safe] = 0;
        emit Locked(safe);
    }

    function lift(address safe) external onlyGuardian {
        locked[safe] = false;
        emit Lifted(safe);
    }

    /// @notice Called by a Safe: from LEAVE_DELAY on, for LEAVE_WINDOW, an armed guard lets everything pass.
    function announceLeave() external {
        leaveFrom[msg.sender] = block.timestamp + LEAVE_DELAY;
        emit LeaveAnnounced(msg.sender, leaveFrom[msg.sender]);
    }

    /// @notice Names where a locked `safe` may be swept: the first at once, another one DESTINATION_DELAY later. Naming
    ///         the present one takes back what was announced.
    function nameDestination(address safe, address to) external onlyGuardian {
        if (to == address(0) || to == safe || to == address(this)) revert DestinationRefused();
        address present = destinationOf(safe);
        bool first = present == address(0) || present == to;
        uint256 from = block.timestamp + (first ? 0 : DESTINATION_DELAY);
        destinations[safe] = Destination(first ? to : present, first ? address(0) : to, first ? 0 : from);
        emit DestinationNamed(safe, to, from);
    }

    /// @notice Returns where a locked `safe` may be swept now; zero for nowhere.
    function destinationOf(address safe) public view returns (address) {
        Destination storage one = destinations[safe];
        return one.from != 0 && block.timestamp >= one.from ? one.next : one.present;
    }

    /// @notice Returns what was announced last and from when on it counts; zeros where nothing is.
    function destinationAfter(address safe) external view returns (address next, uint256 from) {
        return (destinations[safe].next, destinations[safe].from);
    }

    function appoint(address guardian_) external {
        if (msg.sender != recovery) revert OnlyRecovery();
        if (guardian_ == address(0)) revert ZeroAddress();
        guardian = guardian_;
        emit GuardianAppointed(guardian_);
    }

    /// @dev Safe's ITransactionGuard; `msg.sender` is the Safe and `executor` who called it. A gas refund is a payment.
    function checkTransaction(
        address to,
        uint256 value,
        bytes memory data,
        uint8 operation,
        uint256,
        uint256,
        uint256 gasPrice,
        address,
        address payable,
        bytes memory,
        address executor
    ) external view {
        if (locked[msg.sender]) {
            bool skips = bytes4(data) == 0x46ba2307 && value == 0; // setTxNonce(uint256)
            if (executor != guardian || (to != msg.sender && !skips && !_sweeps(to, value, data))) revert SafeIsLocked();
            if (gasPrice != 0) revert RefundRefused();
        } else if (_mayLeave(msg.sender)) {
            return;
        }
        _keepInPlace(to, data, operation);
    }

    /// @dev Safe's IModuleGuard; `msg.sender` is the Safe.
    function checkModuleTransaction(address to, uint256, bytes memory data, uint8 operation, address)
        external
        view
        returns (bytes32)
    {
        if (locked[msg.sender]) revert SafeIsLocked();
        if (!_mayLeave(msg.sender)) _keepInPlace(to, data, operation);
        return bytes32(0);
    }

    function checkAfterExecution(bytes32, bool) external view {}

    function checkAfterModuleExecution(bytes32, bool) external view {}

    /// @dev ERC-165: itself, ITransactionGuard, IModuleGuard.
    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0xe6d7a83a || id == 0x58401ed8;
    }

    function _mayLeave(address safe) private view returns (bool) {
        uint256 from = leaveFrom[safe];
        return from != 0 && block.timestamp >= from && block.timestamp < from + LEAVE_WINDOW;
    }

    /// @dev The coin to the destination, or transfer(address,uint256) of some other contract to it, without coin.
    function _sweeps(address to, uint256 value, bytes memory data) private view returns (bool) {
        address destination = destinationOf(msg.sender);
        if (destination == address(0)) return false;
        if (data.length == 0) return to == destination && value != 0;
        if (value != 0 || to == address(this) || data.length != 68 || bytes4(data) != 0xa9059cbb) return false;
        bytes32 recipient;
        assembly {
            recipient := mload(add(data, 36))
        }
        return recipient == bytes32(uint256(uint160(destination)));
    }

    /// @dev An empty call to itself, by which Safes use up a nonce, is allowed; every function not listed is refused.
    function _keepInPlace(address to, bytes memory data, uint8 operation) private view {
        if (operation != 0) revert DelegatecallRefused();
        if (to != msg.sender || data.length == 0) return;
        bytes4 selector = bytes4(data);
        if (
            selector != 0x0d582f13 && // addOwnerWithThreshold(address,uint256)
            selector != 0xf8dc5dd9 && // removeOwner(address,address,uint256)
            selector != 0xe318b52b && // swapOwner(address,address,address)
            selector != 0x694e80c3 && // changeThreshold(uint256)
            selector != 0xe009cfde // disableModule(address,address)
        ) revert FunctionRefused(selector);
    }
}
